"""Where results go: tables to standard output, records to the file that `--json` names."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table

from marginface.files import write_atomically

Json = Annotated[
    Path | None,
    Parameter(
        help="Write the record to this file; - is standard output.", allow_leading_hyphen=True
    ),
]

# Columns where there is no terminal.
WIDTH = 140


def show(*parts: RenderableType) -> None:
    """Write results to standard output, for a reader without a terminal too."""
    console = Console(highlight=False)
    for part in parts:
        if not sys.stdout.isatty():
            console.width = max(WIDTH, _whole(console, part))
        # Text keeps its own lines; only tables are fitted to the width.
        console.print(part, soft_wrap=isinstance(part, str), markup=False)


def _whole(console: Console, part: RenderableType) -> int:
    """Return the width of a table of identifiers; a folded path would be found by no search."""
    if not isinstance(part, Table) or any(column.overflow != "fold" for column in part.columns):
        return 0
    return Measurement.get(console, console.options.update(max_width=sys.maxsize), part).maximum


def say(text: str) -> None:
    """Write a remark to standard error."""
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(text)


def show_or_write(record: dict[str, Any], json_path: Path | None, *parts: RenderableType) -> None:
    """Write the record where `--json` says, and show the parts unless standard output holds it."""
    write_json(record, json_path)
    if str(json_path) != "-":
        show(*parts)


def write_json(record: dict[str, Any], path: Path | None) -> None:
    """Write a record where `--json` says; `-` is standard output, nothing is nowhere."""
    if path is None:
        return
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        write_atomically(path, text)
