"""The tables of records as grids of words, before they become HTML, Markdown or LaTeX."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from marginface.evaluation.records import fnmr_name
from marginface.report.cells import RATE, Cell, Grid, difference_cell, metric_cell
from marginface.report.entries import gathered
from marginface.report.records import IDENTIFICATION, VERIFICATION, System, by_set
from marginface.report.search_grids import cmc_grid, distractor_grid, open_set_grid
from marginface.report.words import (
    interval_words,
    ordered_metrics,
    percent_words,
    signed_points,
    title,
)


def grids_of(systems: Sequence[System]) -> list[Grid]:
    """Return every table the systems have numbers for, sets and systems in their order."""
    grids = []
    for judged_on, some in by_set(systems, VERIFICATION).items():
        grids.append(_verification(judged_on, some))
        grids += [_group_grid(system) for system in some if _measured(system, "groups")]
        rejecting = [system for system in some if _measured(system, "rejection")]
        grids += [_rejection(judged_on, rejecting)] if rejecting else []
        grids += [_public(system) for system in some if system.result.get("insightface")]
    for judged_on, some in by_set(systems, IDENTIFICATION).items():
        if searched := [system for system in some if system.result.get("cmc")]:
            grids.append(cmc_grid(judged_on, searched))
        if searched := [system for system in some if system.result.get("fnir_at_fpir")]:
            grids.append(open_set_grid(judged_on, searched))
        grids += [distractor_grid(system) for system in some if system.result.get("identification")]
    return grids


def _verification(judged_on: str, systems: Sequence[System]) -> Grid:
    metrics = ordered_metrics({name for system in systems for name in system.metrics})
    rows = []
    for system in systems:
        cautions = system.result.get("cautions", {})
        cells = [metric_cell(system.metrics.get(m), m, is_marked=m in cautions) for m in metrics]
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
            cells.append(metric_cell(row[kind], RATE, is_marked=kind in row["cautions"]))
            cells.append(difference_cell(row.get(f"{kind}_minus_all")))
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
                metric_cell(part["area"], RATE, is_marked=bool(part.get("caution"))),
                difference_cell(part["difference_to_random"]),
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


def _public(system: System) -> Grid:
    """Return insightface's figures beside our exact ones, and why the two differ."""
    public = system.result["insightface"]
    return Grid(
        part="public",
        title=f"{system.name} on {system.judged_on}: published figures and exact ones",
        heads=("figure", "as published code prints it", "exact", "exact minus published, points"),
        rows=tuple(_both(public, system.metrics)),
        notes=(f"Both come from the same scores: {public['why_it_differs']}.",),
    )


def _both(
    public: Mapping[str, Any], metrics: Mapping[str, Mapping[str, float]]
) -> Iterator[tuple[str, tuple[Cell, ...]]]:
    """Yield each published figure's name with its cells: as printed, exact, and the difference."""
    if "mean" in public:
        printed = f"{100 * public['mean']:.3f} ± {100 * public['std']:.3f} %"
        ends = interval_words("accuracy", public) if "low" in public else ""
        cell = Cell(value=printed, interval=ends)
        yield "accuracy", (cell, *_exact(metrics.get("accuracy"), public["mean"]))
    if "tar" in public:
        cell = Cell(value=f"{100 * public['tar']:.3f} ± {100 * public['tar_std']:.3f} %")
        yield "TAR at FAR 0.001", (cell, *_exact(_true_matches(metrics, 0.001), public["tar"]))
    for point in public.get("tar_at_far", []):
        name = f"TAR at FAR {point['target']:g}"
        cell = Cell(value=f"{100 * point['tar']:.3f} % at FAR {point['far']:.3g}")
        yield name, (cell, *_exact(_true_matches(metrics, point["target"]), point["tar"]))


def _true_matches(
    metrics: Mapping[str, Mapping[str, float]], target: float
) -> Mapping[str, float] | None:
    """Return TAR, 1 - FNMR, with its interval."""
    ends = metrics.get(fnmr_name(target))
    if ends is None:
        return None
    return {"value": 1 - ends["value"], "low": 1 - ends["high"], "high": 1 - ends["low"]}


def _exact(ends: Mapping[str, float] | None, printed: float) -> tuple[Cell, Cell]:
    if ends is None:
        return Cell(value="not measured"), Cell(value="–")
    exact = Cell(value=f"{100 * ends['value']:.3f} %", interval=interval_words(RATE, ends))
    return exact, Cell(value=signed_points(ends["value"] - printed))


def _remarks(systems: Sequence[System]) -> tuple[str, ...]:
    """Return cautions and refusals, one sentence for all the systems it holds of."""
    notes: list[tuple[str, str]] = []
    for system in systems:
        result = system.result
        found = [f"{title(name)}: {why}" for name, why in result.get("cautions", {}).items()]
        refused = dict(result.get("refused", {}))
        for key in ("groups", "rejection"):
            if "refused" in result.get(key, {}):
                refused[key] = result[key]["refused"]
        found += [f"{title(name)} not measured: {why}" for name, why in refused.items()]
        notes += [(system.name, note) for note in found]
    return gathered(notes)


def _measured(system: System, key: str) -> bool:
    return bool(system.result.get(key)) and "refused" not in system.result[key]
