"""Error rates as curves, in the words of ISO/IEC 19795: DET, ROC, CMC, open set, reject.

A line is either a curve over all thresholds, drawn as the steps it has, or a few measured points
with their intervals, joined thinly to show which belong together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from matplotlib.axes import Axes

from marginface.report.drawing import (
    INK,
    PALETTE,
    LineStyle,
    house_look,
    legend_below,
    new_figure,
    to_svg,
)

FMR = "false match rate (FMR), percent: strangers accepted"
FNMR = "false non-match rate (FNMR), percent: same person refused"
FPIR = "false positive identification rate (FPIR), percent"
FNIR = "false negative identification rate (FNIR), percent"
TPIR = "true positive identification rate, percent"

_PROBIT = NormalDist().inv_cdf
_RATE_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
_LOWEST = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a figure.

    Attributes:
        name: For the legend.
        x, y: Rates as fractions, or ranks and sizes along x.
        low, high: Ends of the intervals of y, where there are any.
        is_curve: Whether it holds every step there is; else x and y are single points.
        colour, dash, marker, width: Its look.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    is_curve: bool = False
    colour: str = INK
    dash: LineStyle = "-"
    marker: str = "o"
    width: float = 1.7


def det_figure(lines: Sequence[Line]) -> str:
    """Draw FNMR against FMR, both on the normal-deviate scale."""
    return _deviate_figure(
        lines,
        (FMR, FNMR),
        alt="False non-match rate against false match rate; "
        "lines nearer to the lower left corner are better",
    )


def open_set_figure(lines: Sequence[Line]) -> str:
    """Draw FNIR against FPIR, both on the normal-deviate scale."""
    return _deviate_figure(
        lines,
        (FPIR, FNIR),
        alt="False negative against false positive identification rate of the searches; "
        "lines nearer to the lower left corner are better",
    )


def roc_figure(lines: Sequence[Line]) -> str:
    """Draw the true match rate, 1 - FNMR, against FMR on a logarithmic axis."""
    lowest = _lowest_rate([rate for line in lines for rate in line.x])
    with house_look():
        figure = new_figure(6.6, 4.6)
        axes = figure.subplots()
        axes.set_xscale("log")
        # Before anything is drawn: a single point has no extent to fit an axis to.
        axes.set_xlim(100 * lowest, 100)
        for line in lines:
            across = [100 * max(rate, lowest) for rate in line.x]
            true = [100 * (1 - rate) for rate in line.y]
            low, high = ([100 * (1 - rate) for rate in ends] for ends in (line.high, line.low))
            _draw(axes, line, across, true, low, high)
        ticks = [10.0**power for power in range(-4, 3) if 10.0**power >= 100 * lowest]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_ylim(_bottom(lines), 101)
        axes.set_xlabel(FMR)
        axes.set_ylabel("true match rate (1 − FNMR), percent")
        legend_below(figure, axes)
        return to_svg(
            figure,
            alt="True match rate against false match rate on a logarithmic axis; "
            "lines nearer to the upper left corner are better",
        )


def cmc_figure(lines: Sequence[Line]) -> str:
    """Draw the share of mated searches that find their person within a rank."""
    # Of a curve, which holds every rank, only the last is told.
    ranks = sorted({rank for line in lines for rank in (line.x[-1:] if line.is_curve else line.x)})
    return _identification_figure(
        lines,
        "rank: the person is among so many best candidates",
        ticks={rank: f"{rank:g}" for rank in ranks},
        alt="Share of mated searches that find the right person within a rank; higher is better",
    )


def distractor_figure(lines: Sequence[Line]) -> str:
    """Draw the identification rate against the number of distractors."""
    sizes = sorted({size for line in lines for size in line.x})
    return _identification_figure(
        lines,
        "distractors in the gallery",
        ticks={size: f"{size:,.0f}" for size in sizes},
        alt="Share of searches that find the right person among more and more distractors",
    )


def reject_figure(name: str, rejection: Mapping[str, Any]) -> str:
    """Draw both error rates as the pairs of lowest quality are refused, with random and oracle."""
    with house_look():
        figure = new_figure(8.4, 3.5)
        panels = figure.subplots(1, 2)
        for axes, kind, label in zip(panels, ("fnmr", "fmr"), ("FNMR", "FMR"), strict=True):
            part = rejection[kind]
            shares = [100 * share for share in part["shares"]]
            random = [100 * part["random"]] * len(shares)
            found, oracle = ([100 * rate for rate in part[key]] for key in ("rates", "oracle"))
            axes.plot(shares, random, color=INK, linestyle=(0, (2, 3)), linewidth=1, label="random")
            look = {"linewidth": 1.4, "linestyle": (0, (5, 2))}
            axes.plot(shares, oracle, color=PALETTE[1], label="oracle, the best possible", **look)
            axes.plot(
                shares,
                found,
                "o-",
                color=PALETTE[0],
                markersize=3.5,
                linewidth=1.7,
                label="by the quality of the pictures",
            )
            axes.set_xlabel("pairs refused, percent")
            axes.set_ylabel(f"{label} of those kept, percent")
            axes.set_xlim(0, 100)
            axes.set_ylim(bottom=0)
            if not any((*random, *found, *oracle)):
                axes.set_ylim(0, 1)
        legend_below(figure, panels[0])
        return to_svg(
            figure,
            alt=f"Error rates of {name} as the pairs of lowest quality are refused, beside "
            "refusing at random and the best possible order; lower is better",
        )


def _deviate_figure(lines: Sequence[Line], labels: tuple[str, str], *, alt: str) -> str:
    lowest = _lowest_rate([rate for line in lines for rate in (*line.x, *line.y, *line.low)])
    limits = (lowest, 1 - lowest)
    with house_look():
        figure = new_figure(6.6, 5.4)
        axes = figure.subplots()
        ends = [_PROBIT(limits[0]), _PROBIT(min(_highest_rate(lines), limits[1]))]
        axes.plot(ends, ends, color=INK, linewidth=0.7, linestyle=(0, (2, 3)))
        for line in lines:
            parts = (line.x, line.y, line.low, line.high)
            _draw(axes, line, *(_deviates(part, limits) for part in parts))
        ticks = [rate for rate in _RATE_TICKS if ends[0] <= _PROBIT(rate) <= ends[1]]
        names = [f"{100 * rate:g}" for rate in ticks]
        axes.set_xticks([_PROBIT(rate) for rate in ticks], names)
        axes.set_yticks([_PROBIT(rate) for rate in ticks], names)
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        legend_below(figure, axes)
        return to_svg(figure, alt=alt)


def _identification_figure(
    lines: Sequence[Line], label: str, *, ticks: Mapping[float, str], alt: str
) -> str:
    with house_look():
        figure = new_figure(6.6, 4.2)
        axes = figure.subplots()
        axes.set_xscale("log")
        reach = max(ticks, default=1) / min(ticks, default=1)
        points = [line for line in lines if not line.is_curve]
        for line in lines:
            low, high = ([100 * rate for rate in ends] for ends in (line.low, line.high))
            # Points stand a little beside each other, so that no interval hides another.
            number = 0 if line.is_curve else points.index(line) - (len(points) - 1) / 2
            aside = reach ** (0.012 * number)
            across = [place * aside for place in line.x]
            _draw(axes, line, across, [100 * rate for rate in line.y], low, high)
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.set_xticks([], minor=True)
        axes.set_xlim(min(ticks, default=1) / 1.25, max(ticks, default=1) * 1.25)
        axes.set_ylim(_bottom(lines, is_error=False), 101)
        axes.set_xlabel(label)
        axes.set_ylabel(TPIR)
        legend_below(figure, axes)
        return to_svg(figure, alt=alt)


def _draw(
    axes: Axes,
    line: Line,
    x: Sequence[float],
    y: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
) -> None:
    look: dict[str, Any] = {"color": line.colour, "linestyle": line.dash, "label": line.name}
    if line.is_curve:
        axes.plot(x, y, linewidth=line.width, drawstyle="steps-post", **look)
        return
    axes.plot(x, y, linewidth=1, marker=line.marker, markersize=6, **look)
    if low:
        axes.vlines(x, low, high, color=line.colour, linewidth=1.8)


def _bottom(lines: Sequence[Line], *, is_error: bool = True) -> float:
    """Return where the axis of a rate that should be 100 percent begins, at a full ten below."""
    ends = [end for line in lines for end in (*line.y, *line.low, *line.high)]
    lowest = 1 - max(ends, default=1.0) if is_error else min(ends, default=0.0)
    return min(90.0, max(-1.0, 10 * ((100 * lowest) // 10) - 1))


def _lowest_rate(rates: Sequence[float]) -> float:
    return max(_LOWEST, min((rate for rate in rates if 0 < rate < 0.5), default=0.002) / 2)


def _highest_rate(lines: Sequence[Line]) -> float:
    """Return where the axes end: a few points leave the lax half of the figure out."""
    if any(line.is_curve for line in lines):
        return 0.97
    seen = max((rate for line in lines for rate in (*line.x, *line.y, *line.high)), default=0.0)
    return min(0.97, max(0.2, 1.3 * seen))


def _deviates(rates: Sequence[float], limits: tuple[float, float]) -> list[float]:
    # Rates of 0 and 1 lie at infinity; they are drawn at the edge.
    return [_PROBIT(min(max(rate, limits[0]), limits[1])) for rate in rates]
