"""`marginface report`: draw the page of a comparison again."""

from json import loads
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from marginface.cli.output import Json, say, show_or_write
from marginface.errors import DataError
from marginface.report import comparison_table, markdown_table, write_comparison_page


def report(
    results: Annotated[Path, Parameter(help="The results.json of a comparison.")],
    out: Annotated[Path | None, Parameter(help="The page; beside RESULTS by default.")] = None,
    *,
    markdown: Annotated[bool, Parameter(help="Print the table as Markdown.", negative="")] = False,
    json: Json = None,
) -> None:
    """Draw the page of a comparison from its record, without training anything.

    **Examples**

        marginface report runs/demo/results.json

        marginface report runs/demo/results.json --markdown
    """
    try:
        record = loads(results.read_text(encoding="utf-8"))
        record["losses"]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise DataError(
            f"results must be the results.json of a comparison, got {results} "
            f"({type(cause).__name__}); make one with marginface compare"
        ) from cause
    page = out or results.with_name("report.html")
    write_comparison_page(record, page)
    told = {
        "page": str(page),
        "baseline": record["baseline"],
        "metrics": {name: loss["metrics"] for name, loss in record["losses"].items()},
    }
    show_or_write(told, json, markdown_table(record) if markdown else comparison_table(record))
    say(f"report: {page}")
