"""The tables of searches: found within a rank, FNIR at FPIR, and found among distractors."""

from collections.abc import Mapping, Sequence
from typing import Any

from marginface.report.cells import Cell, Grid, rate_cell
from marginface.report.records import System


def cmc_grid(judged_on: str, systems: Sequence[System]) -> Grid:
    """Return the share found within each rank, a row for each system."""
    ranks = sorted({rank for system in systems for rank in system.result["cmc"]}, key=int)
    rows = [
        (system.name, tuple(rate_cell(system.result["cmc"].get(rank)) for rank in ranks))
        for system in systems
    ]
    return Grid(
        part="cmc",
        title=f"Identification on {judged_on}: found within a rank",
        heads=("model", *(f"rank {rank}" for rank in ranks)),
        rows=tuple(rows),
        notes=_cautions(systems),
    )


def open_set_grid(judged_on: str, systems: Sequence[System]) -> Grid:
    """Return FNIR at each FPIR, a row for each system, gallery and rule."""
    targets = sorted({p["target"] for s in systems for p in s.result["fnir_at_fpir"]}, reverse=True)
    rows: list[tuple[str, tuple[Cell, ...]]] = []
    # Rules, galleries and systems with equally many strangers share a caution: it is said once.
    cautions: dict[str, dict[str, None]] = {}
    refusals = []
    for system in systems:
        table: dict[str, dict[float, Mapping[str, Any]]] = {}
        for point in system.result.get("mean_fnir", []):
            key = f"{system.name}, mean of galleries, rule {point['rule']}"
            table.setdefault(key, {})[point["target"]] = point
        for point in system.result["fnir_at_fpir"]:
            key = f"{system.name}, gallery {point['gallery']}, rule {point['rule']}"
            table.setdefault(key, {})[point["target"]] = point
            if point.get("caution"):
                where = (
                    f"{system.name}, gallery {point['gallery']}, FPIR {100 * point['target']:g} %"
                )
                cautions.setdefault(point["caution"], {})[where] = None
        rows += [
            (name, tuple(rate_cell(points.get(target), "fnir") for target in targets))
            for name, points in table.items()
        ]
        refused = system.result.get("refused", {})
        refusals += [f"{system.name}, {k} not measured: {why}" for k, why in refused.items()]
    notes = [f"{', '.join(places)}: {why}" for why, places in cautions.items()]
    return Grid(
        part="open set",
        title=f"Open-set identification on {judged_on}",
        heads=("model, gallery, rule", *(f"FNIR at FPIR {100 * t:g} %" for t in targets)),
        rows=tuple(rows),
        notes=(*notes, *refusals),
    )


def distractor_grid(system: System) -> Grid:
    """Return the share found among more and more distractors, a row for each number of them."""
    found = system.result["identification"]
    ranks = list(found[0]["cmc"])
    rows = [
        (f"{row['distractors']:,}", tuple(rate_cell(row["cmc"].get(rank)) for rank in ranks))
        for row in found
    ]
    return Grid(
        part="distractors",
        title=f"{system.name} on {system.judged_on}: found among distractors",
        heads=("distractors", *(f"rank {rank}" for rank in ranks)),
        rows=tuple(rows),
        notes=_cautions([system]),
    )


def _cautions(systems: Sequence[System]) -> tuple[str, ...]:
    return tuple(
        f"{system.name}, {name}: {why}"
        for system in systems
        for name, why in system.result.get("cautions", {}).items()
    )
