"""Where results go: tables to standard output, records to the file that `--json` names."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console, RenderableType

from marginface.files import write_atomically

Json = Annotated[
    Path | None,
    Parameter(
        help="Write the record to this file; - is standard output.", allow_leading_hyphen=True
    ),
]


def show(*parts: RenderableType) -> None:
    """Write results to standard output; a width is assumed where there is no terminal."""
    width = None if sys.stdout.isatty() else 140
    console = Console(width=width, highlight=False)
    for part in parts:
        # Text keeps its own lines; only tables are fitted to the width.
        console.print(part, soft_wrap=isinstance(part, str), markup=False)


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
