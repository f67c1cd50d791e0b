"""`marginface report`: pages and tables from the records of compare, evaluate and protocol."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from marginface.cli.output import Json, say, show_or_write, write_json
from marginface.errors import unknown_name
from marginface.files import write_atomically
from marginface.report import (
    COMPARISON,
    comparison_table,
    csv_table,
    grid_tables,
    grids_of,
    kind_of,
    latex_tables,
    markdown_table,
    markdown_tables,
    read_record,
    systems_of,
    write_comparison_page,
    write_records_page,
)

FORMS = (".html", ".csv", ".tex", ".md")

Records = Mapping[str, dict[str, Any]]


def report(
    *results: Annotated[
        Path, Parameter(help="The results.json of a comparison, or --json of evaluate or protocol.")
    ],
    out: Annotated[
        Path | None,
        Parameter(help="A page .html (default: beside the first record), or .csv, .tex, .md."),
    ] = None,
    markdown: Annotated[bool, Parameter(help="Print the tables as Markdown.", negative="")] = False,
    json: Json = None,
) -> None:
    """Draw a page or a table from records, without training or judging anything.

    Several records stand on one page; what was judged on the same set is drawn together.

    **Examples**

        marginface report runs/demo/results.json

        marginface report sface.json mine.json --out both.html

        marginface report sface.json mine.json --out table.tex

        marginface report runs/demo/results.json --markdown
    """
    if not results:
        raise ValueError("results must name at least one record, got none")
    records = _by_stem(results)
    comparison = _lone_comparison(records)
    page = out or _default_page(results, is_comparison=comparison is not None)
    if page.suffix not in FORMS:
        raise unknown_name("the ending of --out", page.suffix, FORMS)
    _write(records, comparison, page)
    told = _told(records, page)
    if comparison is not None:
        table = markdown_table(comparison) if markdown else comparison_table(comparison)
        show_or_write(told, json, table)
    elif markdown:
        show_or_write(told, json, markdown_tables(grids_of(systems_of(records))))
    elif out is None or str(json) == "-":
        show_or_write(told, json, *grid_tables(grids_of(systems_of(records))))
    else:
        write_json(told, json)
    say(f"report: {page}")


def _write(records: Records, comparison: dict[str, Any] | None, page: Path) -> None:
    if page.suffix == ".html":
        if comparison is not None:
            write_comparison_page(comparison, page)
        else:
            write_records_page(records, page)
        return
    systems = systems_of(records)
    if page.suffix == ".csv":
        write_atomically(page, csv_table(systems))
    elif page.suffix == ".tex":
        write_atomically(page, latex_tables(grids_of(systems)))
    elif comparison is not None:
        write_atomically(page, markdown_table(comparison))
    else:
        write_atomically(page, markdown_tables(grids_of(systems)))


def _by_stem(paths: tuple[Path, ...]) -> dict[str, dict[str, Any]]:
    """Read the records; those of one stem are told apart by their folder, then by their number."""
    records: dict[str, dict[str, Any]] = {}
    for number, path in enumerate(paths, start=1):
        names = (path.stem, f"{path.resolve().parent.name}/{path.stem}", f"{path.stem} {number}")
        records[next(name for name in names if name not in records)] = read_record(path)
    return records


def _lone_comparison(records: Records) -> dict[str, Any] | None:
    record = next(iter(records.values()))
    return record if len(records) == 1 and kind_of(record) == COMPARISON else None


def _default_page(results: tuple[Path, ...], *, is_comparison: bool) -> Path:
    if is_comparison or len(results) > 1:
        return results[0].with_name("report.html")
    return results[0].with_suffix(".html")


def _told(records: Records, page: Path) -> dict[str, Any]:
    told: dict[str, Any] = {"page": str(page)}
    comparison = _lone_comparison(records)
    if comparison is not None:
        told["baseline"] = comparison["baseline"]
        losses = comparison["losses"].items()
        return told | {"metrics": {name: loss["metrics"] for name, loss in losses}}
    return told | {
        "systems": [
            {
                "name": system.name,
                "set": system.judged_on,
                "kind": system.kind,
                "metrics": dict(system.metrics),
            }
            for system in systems_of(records)
        ]
    }
