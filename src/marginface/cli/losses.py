"""`marginface losses`: what there is to train with, and what it does to a face."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from marginface.cli.output import Json, say, show_or_write
from marginface.errors import unknown_name
from marginface.losses import LOSS_FACTS

SIGNS = (
    "CE: cross-entropy of a softmax, whose other logits are s·cos θ_j unless said; θ_y, θ_j: angle "
    "to the own class, to another; s: scale; |x|: length of the feature; ⌊·⌋: constant to the "
    "gradient; E: drawn anew for each face"
)


def losses(
    names: Annotated[
        tuple[str, ...], Parameter(help="Which ones; all by default.", negative="")
    ] = (),
    *,
    picture: Annotated[
        Path | None, Parameter(help="Draw pull and push to this file: .png, .svg or .pdf.")
    ] = None,
    json: Json = None,
) -> None:
    """List every loss with its paper, its formula and its defaults.

    Angles are in radians, margins of cosines have no unit, s is the logit scale. The picture shows
    how hard each loss pulls a face to its own class, and pushes it from another, by the angle.

    **Examples**

        marginface losses

        marginface losses softmax arcface sface --picture losses.png

        marginface losses --json -
    """
    for name in names:
        if name not in LOSS_FACTS:
            raise unknown_name("loss", name, LOSS_FACTS)
    record = {name: asdict(LOSS_FACTS[name]) for name in names or LOSS_FACTS}
    heads = ("name", "paper", "loss or own-class term", "defaults")
    table = Table(*heads, show_lines=True, caption=SIGNS)
    for name, facts in record.items():
        defaults = ", ".join(f"{key}={value}" for key, value in facts["defaults"].items())
        paper = f"{facts['paper']}\n{facts['arxiv']}" if facts["arxiv"] else facts["paper"]
        table.add_row(name, paper, facts["formula"], defaults)
    show_or_write(record, json, table)
    if picture is not None:
        _draw(list(record), picture)


def _draw(names: list[str], path: Path) -> None:
    # Only who wants a picture waits for what draws it.
    from marginface.comparison.forces import force_curves
    from marginface.report.force_figure import write_force_figure
    from marginface.training import LossConfig

    write_force_figure({name: force_curves(LossConfig(name=name)) for name in names}, path)
    say(f"pull and push by the angle: {path}")
