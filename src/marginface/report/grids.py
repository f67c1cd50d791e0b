"""The tables of records as grids of words, before they become HTML, Markdown or LaTeX."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marginface.report.records import IDENTIFICATION, VERIFICATION, System, by_set
from marginface.report.words import (
    difference_words,
    interval_words,
    is_percent,
    number,
    ordered_metrics,
    percent_words,
    title,
    value_words,
)

_RATE = "eer"  # any metric that is a share: how rates of groups are written


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number in words: the value, its interval, and whether a caution speaks against it."""

    value: str
    interval: str = ""
    is_marked: bool = False

    @property
    def text(self) -> str:
        """All of it in one line of plain text."""
        mark = "*" if self.is_marked else ""
        return f"{self.value}{mark} {self.interval}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One table.

    Attributes:
        part: What it is about: verification, public, groups, rejection, cmc, open set, distractors.
        title: Its heading.
        heads: One per column, that of the names first.
        rows: Name and cells, as many as there are heads after the first.
        notes: Cautions and refusals, in sentences.
    """

    part: str
    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    notes: tuple[str, ...] = ()


def grids_of(systems: Sequence[System]) -> list[Grid]:
    """Return every table the systems have numbers for, sets and systems in their order."""
    grids = []
    for judged_on, some in by_set(systems, VERIFICATION).items():
        grids.append(_verification(judged_on, some))
        grids += [_group_grid(system) for system in some if _measured(system, "groups")]
        rejecting = [system for system in some if _measured(system, "rejection")]
        grids += [_rejection(judged_on, rejecting)] if rejecting else []
        grids += _public(judged_on, some)
    for judged_on, some in by_set(systems, IDENTIFICATION).items():
        if searched := [system for system in some if system.result.get("cmc")]:
            grids.append(_cmc(judged_on, searched))
        if searched := [system for system in some if system.result.get("fnir_at_fpir")]:
            grids.append(_open_set(judged_on, searched))
        grids += [_distractors(system) for system in some if system.result.get("identification")]
    return grids


def _verification(judged_on: str, systems: Sequence[System]) -> Grid:
    metrics = ordered_metrics({name for system in systems for name in system.metrics})
    rows = []
    for system in systems:
        cautions = system.result.get("cautions", {})
        cells = [_metric_cell(system.metrics.get(m), m, is_marked=m in cautions) for m in metrics]
        failure = system.result.get("failure_to_acquire")
        cells.append(Cell(value="–" if failure is None else percent_words(failure)))
        rows.append((system.name, tuple(cells)))
    return Grid(
        part="verification",
        title=f"Verification on {judged_on}",
        heads=("model", *map(title, metrics), "failure to acquire"),
        rows=tuple(rows),
        notes=_remarks(systems),
    )


def _group_grid(system: System) -> Grid:
    groups = system.result["groups"]
    rows, notes = [], []
    for row in groups["rows"]:
        cells = []
        for kind, pairs in (("fnmr", "mated"), ("fmr", "nonmated")):
            cells.append(Cell(value=f"{row[pairs]:,}"))
            cells.append(_metric_cell(row[kind], _RATE, is_marked=kind in row["cautions"]))
            cells.append(_difference_cell(row.get(f"{kind}_minus_all")))
        rows.append((str(row["name"]), tuple(cells)))
        notes += [f"{row['name']}, {k.upper()}: {why}" for k, why in row["cautions"].items()]
    unlabelled = f"{groups.get('unlabelled_pairs', 0):,} pairs have a picture without a label"
    target = groups.get("target_fmr")
    at = "a threshold given" if target is None else f"FMR {100 * target:g} % of all pairs"
    return Grid(
        part="groups",
        title=f"{system.name} on {system.judged_on} by {groups['column']}, one threshold at {at}",
        heads=(
            "pictures of",
            "mated pairs",
            "FNMR",
            "minus all, points",
            "non-mated pairs",
            "FMR",
            "minus all, points",
        ),
        rows=tuple(rows),
        notes=(*notes, f"{unlabelled} and stand in “all” only."),
    )


def _rejection(judged_on: str, systems: Sequence[System]) -> Grid:
    rows, notes = [], []
    for system in systems:
        for kind in ("fnmr", "fmr"):
            part = system.result["rejection"][kind]
            name = f"{system.name}, {kind.upper()}"
            if part.get("caution"):
                notes.append(f"{name}: {part['caution']}")
            cells = (
                Cell(value=percent_words(part["random"])),
                _metric_cell(part["area"], _RATE, is_marked=bool(part.get("caution"))),
                _difference_cell(part["difference_to_random"]),
                Cell(value=percent_words(part["area_oracle"])),
            )
            rows.append((name, cells))
    return Grid(
        part="rejection",
        title=f"Error versus reject on {judged_on}",
        heads=(
            "model and rate",
            "of all pairs, as random",
            "mean over shares refused",
            "minus random, points",
            "oracle",
        ),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _public(judged_on: str, systems: Sequence[System]) -> list[Grid]:
    """Return insightface's figures beside ours: folds of pair lists, or TAR at FAR of IJB."""
    folded = [s for s in systems if "mean" in s.result.get("insightface", {})]
    rated = [s for s in systems if "tar_at_far" in s.result.get("insightface", {})]
    heading = f"As published code prints it, on {judged_on}"
    grids = []
    if folded:
        heads: tuple[str, ...] = (
            "model",
            "accuracy ± deviation of folds",
            "exact accuracy minus it, points",
        )
        rows = [(s.name, _fold_cells(s.result["insightface"])) for s in folded]
        why = (folded[0].result["insightface"]["why_it_differs"],)
        grids.append(Grid(part="public", title=heading, heads=heads, rows=tuple(rows), notes=why))
    if rated:
        found = [s.result["insightface"]["tar_at_far"] for s in rated]
        targets = sorted({point["target"] for points in found for point in points})
        rows = []
        for system, points in zip(rated, found, strict=True):
            shares = {point["target"]: point["tar"] for point in points}
            rows.append((system.name, tuple(_share_cell(shares.get(one)) for one in targets)))
        heads = ("model", *(f"TAR at FAR {target:g}" for target in targets))
        why = (rated[0].result["insightface"]["why_it_differs"],)
        grids.append(Grid(part="public", title=heading, heads=heads, rows=tuple(rows), notes=why))
    return grids


def _fold_cells(public: Mapping[str, Any]) -> tuple[Cell, ...]:
    shown = f"{100 * public['mean']:.3f} ± {100 * public['std']:.3f} %"
    apart = public.get("exact_minus_public")
    ours = "–" if apart is None else f"{100 * apart:+.3f}".replace("-", "−")
    return Cell(value=shown), Cell(value=ours)


def _cmc(judged_on: str, systems: Sequence[System]) -> Grid:
    ranks = sorted({rank for system in systems for rank in system.result["cmc"]}, key=int)
    rows = [
        (system.name, tuple(_share_cell(system.result["cmc"].get(rank)) for rank in ranks))
        for system in systems
    ]
    return Grid(
        part="cmc",
        title=f"Identification on {judged_on}: found within a rank",
        heads=("model", *(f"rank {rank}" for rank in ranks)),
        rows=tuple(rows),
    )


def _open_set(judged_on: str, systems: Sequence[System]) -> Grid:
    targets = sorted({p["target"] for s in systems for p in s.result["fnir_at_fpir"]}, reverse=True)
    rows, notes = [], []
    for system in systems:
        table: dict[str, dict[float, Mapping[str, Any]]] = {}
        for point in system.result["fnir_at_fpir"]:
            key = f"{system.name}, gallery {point['gallery']}, rule {point['rule']}"
            table.setdefault(key, {})[point["target"]] = point
        for point in system.result.get("mean_fnir", []):
            key = f"{system.name}, mean of galleries, rule {point['rule']}"
            table.setdefault(key, {})[point["target"]] = point
        rows += [
            (name, tuple(_fnir_cell(points.get(target)) for target in targets))
            for name, points in table.items()
        ]
        notes += [
            f"{system.name}, {k}: {why}" for k, why in system.result.get("refused", {}).items()
        ]
    return Grid(
        part="open set",
        title=f"Open-set identification on {judged_on}",
        heads=("model, gallery, rule", *(f"FNIR at FPIR {100 * t:g} %" for t in targets)),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _distractors(system: System) -> Grid:
    found = system.result["identification"]
    ranks = list(found[0]["cmc"])
    rows = [
        (f"{row['distractors']:,}", tuple(_share_cell(row["cmc"].get(rank)) for rank in ranks))
        for row in found
    ]
    return Grid(
        part="distractors",
        title=f"{system.name} on {system.judged_on}: found among distractors",
        heads=("distractors", *(f"rank {rank}" for rank in ranks)),
        rows=tuple(rows),
    )


def _remarks(systems: Sequence[System]) -> tuple[str, ...]:
    """Return cautions and refusals, one sentence for all the systems it holds of."""
    notes: dict[str, list[str]] = {}
    for system in systems:
        result = system.result
        found = [f"{title(name)}: {why}" for name, why in result.get("cautions", {}).items()]
        refused = dict(result.get("refused", {}))
        for key in ("groups", "rejection"):
            if "refused" in result.get(key, {}):
                refused[key] = result[key]["refused"]
        found += [f"{title(name)} not measured: {why}" for name, why in refused.items()]
        for note in found:
            notes.setdefault(note, []).append(system.name)
    return tuple(f"{', '.join(names)}, {note}" for note, names in notes.items())


def _measured(system: System, key: str) -> bool:
    return bool(system.result.get(key)) and "refused" not in system.result[key]


def _metric_cell(ends: Mapping[str, Any] | None, metric: str, *, is_marked: bool = False) -> Cell:
    if ends is None:
        return Cell(value="–", is_marked=is_marked)
    words = percent_words(ends["value"]) if is_percent(metric) else value_words(metric, ends)
    return Cell(value=words, interval=interval_words(metric, ends), is_marked=is_marked)


def _difference_cell(difference: Mapping[str, Any] | None) -> Cell:
    if difference is None:
        return Cell(value="")
    value, ends = difference_words(_RATE, difference).split(" ", 1)
    return Cell(value=value, interval=ends)


def _fnir_cell(point: Mapping[str, Any] | None) -> Cell:
    if point is None:
        return Cell(value="–")
    if "low" not in point:
        return Cell(value=percent_words(point["fnir"]))
    ends = {"low": point["low"], "high": point["high"]}
    return Cell(value=percent_words(point["fnir"]), interval=interval_words(_RATE, ends))


def _share_cell(share: float | None) -> Cell:
    return Cell(value="–" if share is None else f"{number(_RATE, share)} %")
