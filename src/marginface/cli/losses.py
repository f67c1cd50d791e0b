"""`marginface losses`: what there is to train with."""

import inspect
from typing import Any

from rich.table import Table

from marginface.cli.output import Json, show_or_write
from marginface.losses import LOSSES


def losses(*, json: Json = None) -> None:
    """List every loss with its paper, its formula and its defaults.

    Angles are in radians, margins of cosines have no unit, s is the logit scale.

    **Examples**

        marginface losses

        marginface losses --json -
    """
    record = {name: loss_facts(name) for name in LOSSES}
    table = Table("name", "paper", "loss or own-class term", "defaults", show_lines=True)
    for name, facts in record.items():
        defaults = ", ".join(f"{key}={value}" for key, value in facts["defaults"].items())
        paper = f"{facts['paper']}\n{facts['arxiv']}" if facts["arxiv"] else facts["paper"]
        table.add_row(name, paper, facts["formula"], defaults)
    show_or_write(record, json, table)


def loss_facts(name: str) -> dict[str, Any]:
    """Return paper, arXiv number, formula and defaults of one loss of the table."""
    kind = LOSSES[name]
    parameters = inspect.signature(kind).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    return {
        "paper": kind.paper,
        "arxiv": kind.arxiv,
        "formula": kind.formula,
        "defaults": defaults,
    }
