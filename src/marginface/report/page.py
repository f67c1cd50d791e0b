"""The comparison as one HTML page that needs nothing but itself: no network, no scripts."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from marginface.files import write_atomically
from marginface.report import figures, words
from marginface.report.curve_figures import det_figure, roc_figure
from marginface.report.drawing import css_colour, line_looks
from marginface.report.entries import (
    Entry,
    Record,
    cautions_of,
    entries_of,
    main_metric,
    metrics_of,
    refusals_of,
)
from marginface.report.lines import comparison_lines
from marginface.report.noise import corruption_words, noise_rows
from marginface.report.pictures import picture_uri
from marginface.report.tables import outcome_words, pairs_words

_PICTURES = ("first_picture", "second_picture")


def write_comparison_page(record: Record, out: Path) -> None:
    """Write the report of a comparison as one self-contained HTML file, in one step.

    Parts of the record that are absent (curves, histograms, margins, worst pairs) leave their
    section out; the same record gives the same bytes.

    Args:
        record: A comparison record, as in results.json.
        out: The file to write or replace.

    Raises:
        ValueError: If the record holds no losses.
        CheckpointWriteError: If the disk refuses; the old page then stays.
    """
    write_atomically(out, comparison_page(record))


def comparison_page(record: Record) -> str:
    """Return the page of `write_comparison_page` as text.

    Raises:
        ValueError: If the record holds no losses.
    """
    if not record.get("losses"):
        raise ValueError("record must hold at least one loss under 'losses', got none")
    environment = page_environment()
    environment.globals.update(
        title_of=words.title,
        value_words=words.value_words,
        interval_words=words.interval_words,
        difference_words=words.difference_words,
        difference_parts=words.difference_parts,
        outcome_words=outcome_words,
        picture_uri=picture_uri,
    )
    return environment.get_template("comparison.html.j2").render(_page_parts(record))


def page_environment() -> Environment:
    """Return what fills the templates of pages: every value escaped, every absent one an error."""
    return Environment(
        loader=PackageLoader("marginface.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _page_parts(record: Record) -> dict[str, Any]:
    main, metrics, entries = main_metric(record), metrics_of(record), entries_of(record)
    losses = [entry for entry in entries if not entry.is_reference]
    evaluation = record["data"]["evaluation"]
    return {
        "record": record,
        "main": main,
        "metrics": metrics,
        "meanings": [(words.title(metric), words.meaning(metric)) for metric in metrics],
        "entries": entries,
        "losses": losses,
        "swatches": {name: css_colour(look[0]) for name, look in line_looks(record).items()},
        "refusals": [(words.title(name), why) for name, why in refusals_of(record).items()],
        "cautions": cautions_of(record),
        "summary": summary_sentences(record),
        "pairs": pairs_words(evaluation["pairs"]),
        "failure": f"{100 * evaluation.get('failure_to_acquire', 0.0):.2f} %",
        "fold_stds": {
            entry.name: f"{100 * entry.result['fold_std']:.2f}"
            for entry in losses
            if entry.result.get("fold_std") is not None
        },
        "figures": _figures(record, main, losses),
        "corruption": corruption_words(record),
        "noise": noise_rows(losses),
        "has_sface": any(entry.name.startswith("sface") for entry in losses),
        "has_worst": any(entry.result.get("worst") for entry in losses),
        "download": download_uri(record),
    }


def _figures(record: Record, main: str, losses: list[Entry]) -> dict[str, Any]:
    """Return the figures the record has data for; an absent one is None."""

    def has(key: str) -> bool:
        return any(entry.result.get(key) for entry in losses)

    curves = comparison_lines(record)
    has_history = any(
        run.get("history") for entry in losses for run in entry.result.get("runs", [])
    )
    return {
        "intervals": Markup(figures.interval_figure(record, main)),
        "det": Markup(det_figure(curves)) if curves else None,
        "roc": Markup(roc_figure(curves)) if curves else None,
        "training": Markup(figures.training_figure(record)) if has_history else None,
        "margins": Markup(figures.margin_figure(record)) if has("margin") else None,
        "histograms": [
            Markup(figures.histogram_figure(entry.name, entry.result["histogram"]))
            for entry in losses
            if entry.result.get("histogram")
        ],
    }


def summary_sentences(record: Record) -> list[str]:
    """Return the outcome in plain sentences: what is shown first, then who came out best."""
    main = main_metric(record)
    ranked = [entry for entry in entries_of(record) if not entry.is_reference]
    sentences = []
    groups: dict[str, list[str]] = {"better": [], "worse": [], words.NO_DIFFERENCE: []}
    for entry in ranked:
        difference = entry.difference(main)
        if difference is not None:
            amount = words.difference_words(main, difference)
            groups[words.verdict(main, difference)].append(f"{entry.name} ({amount})")
    baseline = record["baseline"]
    if groups["better"]:
        sentences.append(f"Better than {baseline}: {', '.join(groups['better'])}.")
    if groups["worse"]:
        sentences.append(f"Worse than {baseline}: {', '.join(groups['worse'])}.")
    if groups[words.NO_DIFFERENCE]:
        names = ", ".join(groups[words.NO_DIFFERENCE])
        sentences.append(f"No difference to {baseline} shown: {names}.")
    best = ranked[0]
    interval = best.metric(main)
    if interval is not None:
        sentences.append(
            f"Best as measured: {best.name}, {words.title(main)} "
            f"{words.value_words(main, interval)}, 95 % interval "
            f"{words.interval_words(main, interval)}."
        )
    return sentences


def download_uri(record: Record) -> str:
    """Return the record without its pictures as a JSON data URI, for the download link."""

    def without_pictures(result: Mapping[str, Any]) -> dict[str, Any]:
        worst = [
            {key: value for key, value in pair.items() if key not in _PICTURES}
            for pair in result.get("worst", [])
        ]
        return {**result, "worst": worst} if worst else dict(result)

    kept = dict(record)
    if "losses" in record:
        kept["losses"] = {name: without_pictures(one) for name, one in record["losses"].items()}
    text = json.dumps(kept, indent=1)
    return "data:application/json;base64," + base64.b64encode(text.encode()).decode()
