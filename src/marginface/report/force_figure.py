"""What each loss does to a face, in small pictures: at which angles it pulls, and pushes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from marginface.files import atomic_path
from marginface.report.drawing import PALETTE, house_look, new_figure

FORMATS = (".png", ".svg", ".pdf")
COLUMNS = 4
PANEL_INCHES = (2.6, 1.9)
PULL, PUSH, BEHIND = PALETTE[0], PALETTE[1], "#bbbbbb"
# Of a force over the scale: past π - m the equation of ArcFace sends a face the wrong way.
LOW, HIGH = -0.6, 1.1

Curves = Mapping[str, Sequence[float]]


def write_force_figure(curves: Mapping[str, Curves], path: Path) -> None:
    """Draw pull and push of losses against the angle.

    Args:
        curves: By name of the loss, what `marginface.comparison.forces.force_curves` returned; that
            of `softmax`, if it is there, lies in grey behind the others.
        path: Where to write it.

    Raises:
        ValueError: If the path ends in none of `FORMATS`.
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"the picture must end in one of {', '.join(FORMATS)}, got {path.name!r}")
    columns = min(COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    with house_look(), mpl.rc_context({"grid.color": "#dddddd"}):
        figure = new_figure(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.6)
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (name, curve) in zip(panels, curves.items(), strict=False):
            _draw(axes, name, curve, None if name == "softmax" else curves.get("softmax"))
        for axes in panels[len(curves) :]:
            axes.axis("off")
        figure.supxlabel("angle, degrees", fontsize=10)
        figure.supylabel("force over scale", fontsize=10)
        handles, labels = panels[len(curves) - 1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=columns)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=130)


def _draw(axes: Axes, name: str, curve: Curves, behind: Curves | None) -> None:
    degrees = np.degrees(curve["angle_rad"])
    if behind is not None:
        axes.plot(degrees, behind["pull"], color=BEHIND, linewidth=1, label="the same of softmax")
        axes.plot(degrees, behind["push"], color=BEHIND, linewidth=1)
    if "pull_low" in curve:
        ends = (curve["pull_low"], curve["pull_high"])
        axes.fill_between(degrees, *ends, color=PULL, alpha=0.25, linewidth=0)
    axes.plot(degrees, curve["pull"], color=PULL, label="pull to the own class")
    axes.plot(degrees, curve["push"], color=PUSH, label="push from a stranger")
    axes.set_title(name)
    axes.set_xlim(0, 180)
    axes.set_xticks(range(0, 181, 45))
    top = max(HIGH, 1.1 * max(curve["pull"]))
    axes.set_ylim(LOW * top / HIGH, top)
