"""Result records as tables: for the terminal (rich) and for documents (Markdown)."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from marginface.report.cells import Grid
from marginface.report.entries import (
    Entry,
    Record,
    cautions_of,
    entries_of,
    main_metric,
    metrics_of,
)
from marginface.report.noise import corruption_words
from marginface.report.records import model_name, set_name
from marginface.report.words import (
    NO_DIFFERENCE,
    difference_words,
    interval_words,
    ordered_metrics,
    title,
    value_words,
    verdict,
)

_STYLES = {"better": "bold green", "worse": "bold red", NO_DIFFERENCE: "dim", "baseline": "dim"}


def comparison_table(record: Record) -> Table:
    """Return the comparison for the terminal: per metric, each loss with its interval and verdict.

    Args:
        record: A comparison record, as in results.json.
    """
    people, spoilt = record["data"]["evaluation"], corruption_words(record)
    table = Table(
        title=record.get("title", "Comparison"),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
        caption="\n".join(
            (
                f"{people['identities']:,} people not seen in training, "
                f"{pairs_words(people['pairs'])}; 95 % intervals from a bootstrap over "
                f"identities; differences to {record['baseline']} are paired",
                *([spoilt] if spoilt else []),
                *cautions_of(record),
            )
        ),
    )
    table.add_column("loss", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column(f"minus {record['baseline']}", justify="right", no_wrap=True)
    for metric in metrics_of(record):
        table.add_row(Text(title(metric), style="bold"))
        for entry in entries_of(record):
            if interval := entry.metric(metric):
                table.add_row(
                    Text(f" {entry.name}", style="italic" if entry.is_reference else ""),
                    value_words(metric, interval),
                    interval_words(metric, interval),
                    _difference_cell(entry, metric),
                )
        table.add_section()
    return table


def _difference_cell(entry: Entry, metric: str) -> Text:
    """Put verdict and difference into a cell; together they fit a terminal of 80 columns."""
    outcome, difference = outcome_words(entry, metric), entry.difference(metric)
    verdict_text = Text(outcome, style=_STYLES.get(outcome, ""))
    if difference is None:
        return verdict_text
    words = Text(difference_words(metric, difference))
    return Text("\n" if outcome == NO_DIFFERENCE else " ").join([verdict_text, words])


def outcome_words(entry: Entry, metric: str) -> str:
    """Return what the last column says: baseline, reference, or the verdict."""
    difference = entry.difference(metric)
    if difference is not None:
        return verdict(metric, difference)
    if entry.is_baseline:
        return "baseline"
    return "reference" if entry.is_reference else ""


def evaluation_table(record: Mapping[str, Any]) -> Table:
    """Return one model's record for the terminal, with refusals and cautions in their places.

    Args:
        record: An evaluation record: metrics, refused, failure_to_acquire, pairs, model.
    """
    failure = f"{100 * record.get('failure_to_acquire', 0.0):.2f} %"
    caption = f"{pairs_words(record.get('pairs', {}))}; failure to acquire {failure}"
    if record.get("identities"):
        caption = f"{record['identities']:,} people, {caption}"
    who, where = model_name("this model", record), set_name("these pairs", record)
    table = Table(
        title=f"Verification by {who} on {where}",
        caption=caption,
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("remark")
    cautions = record.get("cautions", {})
    for metric in ordered_metrics(record["metrics"]):
        interval = record["metrics"][metric]
        table.add_row(
            title(metric),
            value_words(metric, interval),
            interval_words(metric, interval),
            Text(cautions.get(metric, ""), style="dim"),
        )
    for metric, reason in record.get("refused", {}).items():
        table.add_row(title(metric), "", "", Text(f"not measured: {reason}", style="yellow"))
    if "intervals" in cautions:
        table.add_row("intervals", "", "", Text(cautions["intervals"], style="dim"))
    return table


def grid_tables(grids: Sequence[Grid]) -> list[Table]:
    """Return the grids for the terminal, notes below each."""
    tables = []
    for grid in grids:
        table = Table(
            title=grid.title,
            caption="\n".join(grid.notes) or None,
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            show_edge=False,
            pad_edge=False,
        )
        for number, head in enumerate(grid.heads):
            table.add_column(Text(head), justify="right" if number else "left")
        for name, cells in grid.rows:
            table.add_row(Text(name), *(Text(cell.text) for cell in cells))
        tables.append(table)
    return tables


def markdown_table(record: Record) -> str:
    """Return the comparison as a Markdown table, one line per loss, for a document.

    The first metric carries the paired difference and its verdict; the record holds the others.

    Args:
        record: A comparison record, as in results.json.
    """
    main, metrics = main_metric(record), metrics_of(record)
    heads = ["loss", title(main), f"minus {record['baseline']}", *map(title, metrics[1:])]
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for entry in entries_of(record):
        difference = entry.difference(main)
        words = outcome_words(entry, main)
        if difference is not None:
            words = f"{difference_words(main, difference)} {words}"
        cells = [_cell(entry, metric) for metric in metrics]
        rows.append([entry.name, *cells[:1], words, *cells[1:]])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _cell(entry: Entry, metric: str) -> str:
    interval = entry.metric(metric)
    if interval is None:
        return "not measured"
    return f"{value_words(metric, interval)} {interval_words(metric, interval)}"


def pairs_words(pairs: Any) -> str:
    """Write how many pairs there are, from counts by kind or a total.

    Example:
        >>> pairs_words({"mated": 2000, "nonmated": 2000})
        '2,000 mated and 2,000 non-mated pairs'
    """
    if isinstance(pairs, Mapping):
        mated, nonmated = pairs.get("mated", 0), pairs.get("nonmated", 0)
        return f"{mated:,} mated and {nonmated:,} non-mated pairs"
    return f"{pairs:,} pairs"
