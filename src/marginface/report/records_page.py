"""Records of any kind, one or several, on one HTML page that needs nothing but itself."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from marginface.files import write_atomically
from marginface.report import curve_figures as draw
from marginface.report import lines
from marginface.report.cells import Grid
from marginface.report.curve_figures import Line
from marginface.report.entries import Record
from marginface.report.figures import histogram_figure
from marginface.report.grids import grids_of
from marginface.report.page import download_uri, page_environment
from marginface.report.records import IDENTIFICATION, VERIFICATION, System, by_set, systems_of
from marginface.report.words import meaning, ordered_metrics, title

# Section, its heading, and the parts of the grids that stand in it.
_SECTIONS = (
    ("verification", "Verification, 1:1", ("verification", "public")),
    ("groups", "Groups", ("groups",)),
    ("rejection", "Error versus reject", ("rejection",)),
    ("identification", "Identification, 1:N", ("cmc", "open set", "distractors")),
)
_READING = {
    "Mated, non-mated": "A mated pair shows one person twice, a non-mated pair two people.",
    "FMR, FNMR": "False match rate: non-mated pairs accepted. False non-match rate: mated pairs "
    "refused. Both at one threshold of the comparison score.",
    "FPIR, FNIR": "Of searches in a gallery. False positive identification rate: searches for "
    "people who are not enrolled that return somebody. False negative identification rate: "
    "searches for enrolled people that do not return them.",
    "Rule of 3": "No error among n pairs still allows a true rate of 3/n.",
    "Rule of 30": "With fewer than 30 errors the true rate may lie more than 30 % off. Such "
    "numbers carry a star.",
    "95 % interval": "Drawn by a bootstrap over people: the pairs of one person stand or fall "
    "together. A record that draws pairs instead says so. "
    "Galleries and distractors stay as they are.",
    "Failure to acquire": "Pictures in which no face was found. Their pairs never match, so "
    "nobody gains by dropping hard faces.",
    "Published and exact": "Published code tries other thresholds than the standard asks for. Its "
    "digits are reproduced here so that they can be set beside a printed table; the exact figure "
    "is what these scores show. The difference says something of the rule, nothing of the model.",
    "Rules iso, newer, older": "How the threshold of a search is set. iso: the lowest whose FPIR "
    "does not exceed the target, in each gallery. newer, older: as public code for IJB did since "
    "2020 and before, for comparison with printed tables; older asks for no FPIR at all.",
    "Error versus reject": "The pairs of lowest quality are refused first, at a threshold that "
    "stays. Random is refusing blindly; the oracle knows the errors and refuses them first.",
}
# What a record says of its making, in the order of the page.
_MADE = (
    *("title", "command", "model", "features", "protocol", "score", "weighting", "date"),
    *("identities", "probes", "gallery", "distractors", "templates", "faces", "alignment"),
    *("failure_to_acquire", "pairs", "pictures", "bootstrap", "data", "machine", "versions"),
)


def write_records_page(records: Mapping[str, Record], out: Path) -> None:
    """Write the page of `records_page` in one step.

    Raises:
        ValueError: If a record is of no known kind.
        CheckpointWriteError: If the disk refuses; the old page then stays.
    """
    write_atomically(out, records_page(records))


def records_page(records: Mapping[str, Record]) -> str:
    """Return one self-contained page of records of any kind; the same records, the same bytes.

    Args:
        records: Stem of the file to record; see `read_record`.

    Raises:
        ValueError: If a record is of no known kind, or there is none.
    """
    if not records:
        raise ValueError("records must hold at least one record, got none")
    systems = systems_of(records)
    sections = _sections(systems)
    parts = {
        "heading": _heading(systems),
        "facts": _facts(records, systems),
        "sections": sections,
        "meanings": _meanings(systems, {section["id"] for section in sections}),
        "records": [
            {"stem": stem, "facts": _made(record), "download": download_uri(record)}
            for stem, record in records.items()
        ],
    }
    return page_environment().get_template("records.html.j2").render(parts)


def _sections(systems: Sequence[System]) -> list[dict[str, Any]]:
    grids = grids_of(systems)
    figures = {
        "verification": _rate_figures(systems),
        "groups": [],
        "rejection": _reject_figures(systems),
        "identification": _search_figures(systems),
    }
    sections = []
    for name, heading, kinds in _SECTIONS:
        chosen: list[Grid] = [grid for grid in grids if grid.part in kinds]
        if chosen or figures[name]:
            sections.append(
                {
                    "id": name,
                    "heading": heading,
                    "grids": chosen,
                    "figures": figures[name],
                    "histograms": _histograms(systems) if name == "verification" else [],
                }
            )
    return sections


def _figure(svg: str, caption: str) -> dict[str, Any]:
    return {"svg": Markup(svg), "caption": caption}


def _rate_figures(systems: Sequence[System]) -> list[dict[str, Any]]:
    figures = []
    for judged_on, some in by_set(systems, VERIFICATION).items():
        found = lines.rate_lines(some)
        # One measured point says no more than its table.
        if any(len(line.x) > 1 for line in found):
            how = _how(found)
            det = (
                f"DET on {judged_on}. Strict thresholds are at the upper left; nearer to the lower "
                "left corner is better; on the dotted diagonal lies the EER. Both axes are "
                f"stretched as for a normal distribution. {how}"
            )
            roc = (
                f"ROC on {judged_on}: the same rates, the false match rate on a logarithmic axis. "
                "Nearer to the upper left corner is better."
            )
            figures.append(_figure(draw.det_figure(found), det))
            figures.append(_figure(draw.roc_figure(found), roc))
    return figures


def _how(found: Sequence[Line]) -> str:
    if all(line.is_curve for line in found):
        return "Every point of a line is one threshold."
    return (
        "Markers are measured, upright bars are 95 % intervals; what joins markers only guides "
        "the eye."
    )


def _histograms(systems: Sequence[System]) -> list[Markup]:
    return [
        Markup(histogram_figure(system.name, system.result["histogram"]))
        for system in systems
        if system.kind == VERIFICATION and system.result.get("histogram")
    ]


def _reject_figures(systems: Sequence[System]) -> list[dict[str, Any]]:
    figures = []
    for system in systems:
        rejection = system.result.get("rejection")
        if rejection and "refused" not in rejection:
            caption = (
                f"{system.name} on {system.judged_on}. The threshold is that of FMR "
                f"{100 * rejection['target_fmr']:g} % on all pairs with a score and does not move. "
                f"Quality: {rejection.get('quality', 'as given')}."
            )
            figures.append(_figure(draw.reject_figure(system.name, rejection), caption))
    return figures


def _search_figures(systems: Sequence[System]) -> list[dict[str, Any]]:
    kinds: tuple[tuple[Callable[..., list[Line]], Callable[..., str], str], ...] = (
        (
            lines.cmc_lines,
            draw.cmc_figure,
            "CMC on {}: every search is for somebody enrolled, and no threshold is asked for. "
            "Upright bars are 95 % intervals, drawn a little aside. Higher is better.",
        ),
        (
            lines.open_set_lines,
            draw.open_set_figure,
            "DET of open-set identification on {}: nearer to the lower left corner is better. A "
            "line without markers holds every threshold; what joins markers only guides the eye.",
        ),
        (
            lines.distractor_lines,
            draw.distractor_figure,
            "Identification on {} among more and more distractors. Upright bars are 95 % "
            "intervals. Higher is better.",
        ),
    )
    figures = []
    for judged_on, some in by_set(systems, IDENTIFICATION).items():
        for find, figure, caption in kinds:
            if found := find(some):
                figures.append(_figure(figure(found), caption.format(judged_on)))
    return figures


def _meanings(systems: Sequence[System], sections: set[str]) -> list[tuple[str, str]]:
    metrics = ordered_metrics({name for system in systems for name in system.metrics})
    left_out = set()
    if "identification" not in sections:
        left_out |= {"FPIR, FNIR", "Rules iso, newer, older"}
    if not any(system.result.get("insightface") for system in systems):
        left_out.add("Published and exact")
    if "rejection" not in sections:
        left_out.add("Error versus reject")
    fixed = [(word, text) for word, text in _READING.items() if word not in left_out]
    return [*fixed, *((title(metric), meaning(metric)) for metric in metrics if meaning(metric))]


def _heading(systems: Sequence[System]) -> str:
    names = list(dict.fromkeys(system.judged_on for system in systems))
    return f"Results on {', '.join(names[:3])}" + (" and others" if len(names) > 3 else "")


def _facts(records: Mapping[str, Record], systems: Sequence[System]) -> str:
    dates = sorted({str(record["date"]) for record in records.values() if "date" in record})
    models = len({system.name for system in systems})
    files = f"{len(records)} {'record' if len(records) == 1 else 'records'}"
    return " · ".join([*dates[-1:], files, f"{models} {'model' if models == 1 else 'models'}"])


def _made(record: Record) -> list[tuple[str, str]]:
    """Return what the record says of its making, plain values and one level below."""
    return [(key.replace("_", " "), _plain(record[key])) for key in _MADE if key in record]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key.replace('_', ' ')}: {_plain(one)}" for key, one in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
