"""Records of any kind: read from files, told apart by their content, and taken apart into systems.

comparison      of `marginface compare`: baseline, losses
verification    of `marginface evaluate`, and 1:1 of `marginface protocol`: metrics, pairs
identification  1:N of `marginface protocol`: cmc, or identification by distractors
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from marginface.errors import DataError
from marginface.report.entries import Record, entries_of
from marginface.report.words import model_words

COMPARISON, VERIFICATION, IDENTIFICATION = "comparison", "verification", "identification"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One model on one set: a line of a table, a curve of a figure.

    Attributes:
        name: The model, as far as the record says it.
        judged_on: The set; systems of one set are drawn together.
        record: The record it is from, by the stem of its file.
        kind: VERIFICATION or IDENTIFICATION.
        result: The part of the record that speaks of it.
        baseline: What `result["difference"]` is measured from; empty without one.
    """

    name: str
    judged_on: str
    record: str
    kind: str
    result: Mapping[str, Any]
    baseline: str = ""

    @property
    def metrics(self) -> Mapping[str, Mapping[str, float]]:
        """Metric name to value, low and high."""
        found: Mapping[str, Mapping[str, float]] = self.result.get("metrics", {})
        return found


def read_record(path: Path) -> dict[str, Any]:
    """Read a record of `marginface compare`, `evaluate` or `protocol`.

    Raises:
        DataError: If the file cannot be read, is no JSON, holds NaN, or is another kind of JSON.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        kind_of(record)
    except (OSError, ValueError) as cause:
        what = getattr(cause, "strerror", None) or (
            cause if type(cause) is ValueError else type(cause).__name__
        )
        raise DataError(
            "results must be the results.json of a comparison, or what evaluate or protocol wrote "
            f"with --json, got {path} ({what}); make one with marginface compare or "
            "marginface evaluate --json"
        ) from cause
    return dict(record)


def kind_of(record: Any) -> str:
    """Tell what a record is by what it holds.

    Raises:
        ValueError: If it is none of the three.
    """
    if isinstance(record, Mapping):
        if _is_comparison(record):
            return COMPARISON
        if _has_metrics(record) and "pairs" in record:
            return VERIFICATION
        if _is_identification(record):
            return IDENTIFICATION
    raise ValueError(
        "neither losses with a baseline, nor metrics with pairs, nor cmc or identification in it"
    )


def systems_of(records: Mapping[str, Record]) -> list[System]:
    """Take records apart: every loss and reference, every 1:1 and every 1:N is a system.

    Args:
        records: Stem of the file to record, in the order of the tables.
    """
    systems = [system for stem, record in records.items() for system in _taken_apart(stem, record)]
    seen = Counter((system.kind, system.judged_on, system.name) for system in systems)
    return [
        replace(system, name=f"{system.name} ({system.record})")
        if seen[system.kind, system.judged_on, system.name] > 1
        else system
        for system in systems
    ]


def by_set(systems: Sequence[System], kind: str) -> dict[str, list[System]]:
    """Return the systems of a kind by what they were judged on, in order of appearance."""
    sets: dict[str, list[System]] = {}
    for system in systems:
        if system.kind == kind:
            sets.setdefault(system.judged_on, []).append(system)
    return sets


def _taken_apart(stem: str, record: Record) -> list[System]:
    kind = kind_of(record)
    if kind == COMPARISON:
        return [
            System(
                name=entry.name,
                judged_on=record["data"]["evaluation"]["name"],
                record=stem,
                kind=VERIFICATION,
                result=entry.result,
                baseline=record["baseline"],
            )
            for entry in entries_of(record)
        ]
    name, judged_on = model_name(stem, record), set_name(stem, record)
    one = System(name=name, judged_on=judged_on, record=stem, kind=kind, result=record)
    verified = record.get("verification")
    if isinstance(verified, Mapping) and _has_metrics(verified):
        judged_on = str(verified.get("protocol", one.judged_on))
        return [replace(one, judged_on=judged_on, kind=VERIFICATION, result=verified), one]
    further = record.get("identification")
    if kind == VERIFICATION and isinstance(further, Mapping) and _is_identification(further):
        searched = str(further.get("protocol", judged_on))
        return [one, replace(one, judged_on=searched, kind=IDENTIFICATION, result=further)]
    return [one]


def model_name(stem: str, record: Record) -> str:
    """Return who was judged: the model, the file of features, or else the record's stem."""
    if record.get("model"):
        return model_words(record["model"])
    features = record.get("features")
    return Path(features).name if isinstance(features, str) and features else stem


def set_name(stem: str, record: Record) -> str:
    """Return what it was judged on: the list of pairs, the protocol, or else the record's stem."""
    data, protocol = record.get("data"), record.get("protocol", stem)
    return str(data.get("pairs", protocol) if isinstance(data, Mapping) else protocol)


def _is_comparison(record: Mapping[str, Any]) -> bool:
    losses, data = record.get("losses"), record.get("data")
    return (
        isinstance(losses, Mapping)
        and bool(losses)
        and "baseline" in record
        and isinstance(data, Mapping)
        and isinstance(data.get("evaluation"), Mapping)
        and all(isinstance(loss, Mapping) and _has_metrics(loss) for loss in losses.values())
    )


def _has_metrics(record: Mapping[str, Any]) -> bool:
    metrics = record.get("metrics")
    return isinstance(metrics, Mapping) and all(
        isinstance(ends, Mapping)
        and all(isinstance(ends.get(end), int | float) for end in ("value", "low", "high"))
        for ends in metrics.values()
    )


def _is_identification(record: Mapping[str, Any]) -> bool:
    if isinstance(record.get("cmc"), Mapping) and isinstance(record.get("fnir_at_fpir"), list):
        return True
    sizes = record.get("identification")
    return (
        isinstance(sizes, list)
        and bool(sizes)
        and all(isinstance(row, Mapping) and {"distractors", "cmc"} <= set(row) for row in sizes)
    )


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")
