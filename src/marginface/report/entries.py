"""The rows every table and figure walks over: references first, then the losses, best first."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from marginface.evaluation import is_lower_better
from marginface.report.words import ordered_metrics, title

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the comparison: a loss, or a reference that was not trained here."""

    name: str
    result: Mapping[str, Any]
    is_reference: bool
    is_baseline: bool

    def metric(self, name: str) -> Mapping[str, Any] | None:
        """Return value, low and high of a metric, or None where it was refused."""
        return self.result.get("metrics", {}).get(name)

    def difference(self, name: str) -> Mapping[str, Any] | None:
        """Return the paired difference to the baseline, or None where there is none."""
        return self.result.get("difference", {}).get(name)


def entries_of(record: Record) -> list[Entry]:
    """Return references in their order, then losses with the best of the main metric first."""
    references = [
        Entry(name=name, result=result, is_reference=True, is_baseline=False)
        for name, result in record.get("references", {}).items()
    ]
    losses = [
        Entry(
            name=name,
            result=result,
            is_reference=False,
            is_baseline=name == record.get("baseline"),
        )
        for name, result in record["losses"].items()
    ]
    main = main_metric(record)

    def rank(entry: Entry) -> float:
        interval = entry.metric(main)
        if interval is None:
            return float("inf")
        return interval["value"] if is_lower_better(main) else -interval["value"]

    return [*references, *sorted(losses, key=rank)]


def metrics_of(record: Record) -> list[str]:
    """Return every metric that at least one loss or reference has, in reading order."""
    results = [*record["losses"].values(), *record.get("references", {}).values()]
    return ordered_metrics({name for result in results for name in result.get("metrics", {})})


def main_metric(record: Record) -> str:
    """Return the metric the comparison is decided by: accuracy, or the first there is."""
    return next(iter(metrics_of(record)), "accuracy")


def refusals_of(record: Record) -> dict[str, str]:
    """Return metric to reason, for what nobody could be measured by."""
    results = [*record["losses"].values(), *record.get("references", {}).values()]
    refused: dict[str, str] = {}
    for result in results:
        refused.update(result.get("refused", {}))
    return {name: refused[name] for name in ordered_metrics(refused)}


def cautions_of(record: Record) -> tuple[str, ...]:
    """Return what speaks against trusting a number, one sentence for all the rows it holds of."""
    return gathered(
        (entry.name, f"{title(metric)}: {why}")
        for entry in entries_of(record)
        for metric, why in entry.result.get("cautions", {}).items()
    )


def gathered(notes: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Say a note once, with the names of all it holds of.

    Example:
        >>> gathered([("arcface", "few pairs"), ("sface", "few pairs")])
        ('arcface, sface, few pairs',)
    """
    names: dict[str, list[str]] = {}
    for name, note in notes:
        names.setdefault(note, []).append(name)
    return tuple(f"{', '.join(of)}, {note}" for note, of in names.items())
