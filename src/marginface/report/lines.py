"""From systems to the lines of figures: which numbers, and how each line looks."""

from collections.abc import Mapping, Sequence
from typing import Any

from marginface.evaluation.records import FNMR_PREFIX
from marginface.report.curve_figures import Line
from marginface.report.drawing import Look, line_looks, looks_of
from marginface.report.entries import Record
from marginface.report.records import System
from marginface.report.words import ordered_metrics

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")


def comparison_lines(record: Record) -> list[Line]:
    """Return the curve of every loss of a comparison, the baseline in ink and wider."""
    looks = line_looks(record)
    return [
        Line(
            name=name,
            x=result["curve"]["fmr"],
            y=result["curve"]["fnmr"],
            is_curve=True,
            colour=looks[name][0],
            dash=looks[name][1],
            width=2.2 if name == record["baseline"] else 1.7,
        )
        for name, result in record["losses"].items()
        if result.get("curve")
    ]


def rate_lines(systems: Sequence[System]) -> list[Line]:
    """Return FMR and FNMR of every system: its curve, or else the points of its metrics."""
    lines = []
    for system, look in zip(systems, _looks(len(systems)), strict=True):
        curve = system.result.get("curve")
        if curve:
            lines.append(
                Line(name=system.name, x=curve["fmr"], y=curve["fnmr"], is_curve=True, **look)
            )
            continue
        names = [name for name in ordered_metrics(system.metrics) if name.startswith(FNMR_PREFIX)]
        if names:
            targets = [float(name.removeprefix(FNMR_PREFIX)) for name in names]
            rates, low, high = (
                [system.metrics[name][end] for name in names] for end in ("value", "low", "high")
            )
            lines.append(Line(name=system.name, x=targets, y=rates, low=low, high=high, **look))
    return lines


def cmc_lines(systems: Sequence[System]) -> list[Line]:
    """Return rank and identification rate of every system that has a CMC.

    Where it has a `cmc_curve` too, its line holds every rank, and the measured ranks only carry
    their intervals, under a name that legends leave out.
    """
    found = []
    for system, look in zip(systems, _looks(len(systems)), strict=True):
        curve, points = system.result.get("cmc_curve"), system.result.get("cmc")
        if curve:
            line = Line(name=system.name, x=curve["rank"], y=curve["tpir"], is_curve=True, **look)
            found.append(line)
        if points:
            look |= {"dash": ""} if curve else {}
            found.append(_ranked("_" * bool(curve) + system.name, points, look))
    return found


def open_set_lines(systems: Sequence[System]) -> list[Line]:
    """Return FPIR met and FNIR, a line for each system, gallery and rule that knows an FPIR.

    Where a system has `open_set_curves`, each with gallery, fpir and fnir over all thresholds,
    they are drawn instead of its points, which stand in the table.
    """
    lines: list[tuple[str, Mapping[str, Any]]] = []
    for system in systems:
        curves = system.result.get("open_set_curves", [])
        for curve in curves:
            drawn = {"x": curve["fpir"], "y": curve["fnir"], "is_curve": True}
            lines.append((f"{system.name}, gallery {curve['gallery']}", drawn))
        grouped: dict[str, list[Mapping[str, Any]]] = {}
        for point in [] if curves else system.result.get("fnir_at_fpir", []):
            if point["fpir"] is not None:
                key = f"{system.name}, gallery {point['gallery']}, rule {point['rule']}"
                grouped.setdefault(key, []).append(point)
        for name, points in grouped.items():
            points.sort(key=lambda point: float(point["fpir"]))
            drawn = {"x": [point["fpir"] for point in points], **_with_ends(points, "fnir")}
            lines.append((name, drawn))
    looks = _looks(len(lines))
    return [
        Line(name=name, **drawn, **look) for (name, drawn), look in zip(lines, looks, strict=True)
    ]


def distractor_lines(systems: Sequence[System]) -> list[Line]:
    """Return distractors and identification rate, a line for each system and rank."""
    found: list[tuple[str, dict[str, Any]]] = []
    for system in systems:
        rows = system.result.get("identification", [])
        for rank in rows[0]["cmc"] if rows else []:
            sizes = [float(row["distractors"]) for row in rows]
            shares = _with_ends([row["cmc"][rank] for row in rows])
            found.append((f"{system.name}, rank {rank}", {"x": sizes, **shares}))
    looks = _looks(len(found))
    return [
        Line(name=name, **drawn, **look) for (name, drawn), look in zip(found, looks, strict=True)
    ]


def _ranked(name: str, cmc: Mapping[str, Any], look: Mapping[str, Any]) -> Line:
    ranks = sorted(cmc, key=int)
    shares = _with_ends([cmc[rank] for rank in ranks])
    return Line(name=name, x=[int(rank) for rank in ranks], **shares, **look)


def _with_ends(points: Sequence[Mapping[str, Any]], key: str = "value") -> dict[str, Any]:
    """Return y of points, and low and high where all of them have an interval."""
    drawn: dict[str, Any] = {"y": [point[key] for point in points]}
    if all("low" in point for point in points):
        drawn |= {end: [point[end] for point in points] for end in ("low", "high")}
    return drawn


def _looks(count: int) -> list[dict[str, Any]]:
    looks: list[Look] = looks_of(count)
    return [
        {"colour": colour, "dash": dash, "marker": MARKERS[number % len(MARKERS)]}
        for number, (colour, dash) in enumerate(looks)
    ]
