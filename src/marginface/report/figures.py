"""The figures of a comparison, each a function from the record to inline SVG."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from marginface.report.drawing import (
    INK,
    PALETTE,
    house_look,
    legend_below,
    line_looks,
    new_figure,
    to_svg,
)
from marginface.report.entries import Record, entries_of
from marginface.report.words import is_percent, title


def interval_figure(record: Record, metric: str) -> str:
    """Draw a metric as dots with intervals, and beside it the differences to the baseline."""
    rows = [entry for entry in entries_of(record) if entry.metric(metric)][::-1]
    unit = 100 if is_percent(metric) else 1
    looks = line_looks(record)
    with house_look():
        figure = new_figure(8.4, 0.8 + 0.34 * max(2, len(rows)))
        left, right = figure.subplots(1, 2, sharey=True)
        for row, entry in enumerate(rows):
            colour = INK if entry.is_reference else looks[entry.name][0]
            fill = "none" if entry.is_reference else colour
            _whisker(left, row, entry.metric(metric), unit, colour, fill)
            for run in entry.result.get("runs", []):
                if seen := run.get("metrics", {}).get(metric):
                    left.plot(unit * seen["value"], row, "|", color=colour, markersize=9, alpha=0.5)
            if difference := entry.difference(metric):
                is_shown = difference["is_shown"]
                _whisker(right, row, difference, unit, colour, colour if is_shown else "none")
        right.axvline(0, color=INK, linewidth=0.9)
        left.set_yticks(range(len(rows)), [entry.name for entry in rows])
        left.set_ylim(-0.6, len(rows) - 0.4)
        percent = ", percent" if unit == 100 else ""
        left.set_title(f"{title(metric)}{percent}")
        points = ", points" if unit == 100 else ""
        right.set_title(f"minus {record['baseline']}{points}")
        for axes in (left, right):
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", length=0)
        return to_svg(
            figure,
            alt=f"{title(metric)} of every loss with its 95 percent interval, and the difference "
            f"to {record['baseline']}; the table above holds the numbers",
        )


def _whisker(
    axes: Axes, row: int, ends: Mapping[str, Any] | None, unit: int, colour: str, fill: str
) -> None:
    if ends is None:
        return
    axes.plot([unit * ends["low"], unit * ends["high"]], [row, row], color=colour, linewidth=2)
    # A hollow dot needs a paper of its own, or the line shows through.
    axes.plot(
        unit * ends["value"],
        row,
        "o",
        color=colour,
        markersize=6.5,
        markerfacecolor=fill,
        markeredgewidth=1.4,
    )


def histogram_figure(name: str, histogram: Mapping[str, Sequence[float]]) -> str:
    """Draw the scores of mated and non-mated pairs of one loss, each with area one."""
    edges = np.asarray(histogram["edges"], dtype=np.float64)
    with house_look():
        figure = new_figure(3.6, 2.3)
        axes = figure.subplots()
        for kind, label, colour in (
            ("nonmated", "non-mated", PALETTE[1]),
            ("mated", "mated", PALETTE[0]),
        ):
            counts = np.asarray(histogram[kind], dtype=np.float64)
            density = counts / max(counts.sum(), 1) / np.diff(edges)
            axes.stairs(density, edges, color=colour, fill=True, alpha=0.35)
            axes.stairs(density, edges, color=colour, linewidth=1.3, label=label)
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("comparison score")
        axes.set_title(name)
        legend_below(figure, axes)
        return to_svg(
            figure,
            alt=f"Scores of {name}: pairs of the same person to the right, of two people to the "
            "left; the less the two overlap, the better",
        )


def training_figure(record: Record) -> str:
    """Draw the loss and the cosine with the own class over the steps, one line per run."""
    looks = line_looks(record)
    with house_look():
        figure = new_figure(8.4, 3.7)
        panels = figure.subplots(1, 2)
        keys = (("loss", "training loss"), ("own_cosine", "cosine with the own class"))
        for axes, (key, heading) in zip(panels, keys, strict=True):
            for name, result in record["losses"].items():
                colour, dash = looks[name]
                for number, run in enumerate(result.get("runs", [])):
                    history = [row for row in run.get("history", []) if _is_number(row.get(key))]
                    axes.plot(
                        [row["step"] for row in history],
                        [row[key] for row in history],
                        color=colour,
                        linestyle=dash,
                        linewidth=1.3,
                        alpha=0.85,
                        label=name if number == 0 else None,
                    )
            axes.set_title(heading)
            axes.set_xlabel("step")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        legend_below(figure, panels[0])
        return to_svg(
            figure,
            alt="Training loss, and mean cosine between a face and its own class, over the steps "
            "of every run",
        )


def margin_figure(record: Record) -> str:
    """Draw what the softmax sees of the own class against the angle, and what the margin took."""
    looks = line_looks(record)
    with house_look():
        figure = new_figure(8.4, 3.9)
        left, right = figure.subplots(1, 2)
        for name, result in record["losses"].items():
            margin = result.get("margin")
            if not margin:
                continue
            colour, dash = looks[name]
            angle = np.asarray(margin["angle_rad"], dtype=np.float64)
            target = np.asarray(margin["target"], dtype=np.float64)
            degrees = np.degrees(angle)
            look = {"color": colour, "linestyle": dash, "linewidth": 1.6}
            left.plot(degrees, target, label=name, **look)
            right.plot(degrees, np.cos(angle) - target, **look)
            if "target_low" in margin and "target_high" in margin:
                low, high = np.asarray(margin["target_low"]), np.asarray(margin["target_high"])
                shade = {"color": colour, "alpha": 0.15, "linewidth": 0}
                left.fill_between(degrees, low, high, **shade)
                right.fill_between(degrees, np.cos(angle) - high, np.cos(angle) - low, **shade)
        left.set_title("own-class logit over scale")
        right.set_title("cosine minus that: the margin's price")
        for axes in (left, right):
            axes.set_xlabel("angle between face and own class, degrees")
            axes.set_xlim(0, 180)
            axes.set_xticks(range(0, 181, 30))
        legend_below(figure, left)
        return to_svg(
            figure,
            alt="For every loss, the logit of the own class against the angle to it; "
            "the lower a curve, the harder the loss makes training at that angle",
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
