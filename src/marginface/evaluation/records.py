"""The results of an evaluation as frozen records, ready for JSON.

Metric names: accuracy, eer, auc, d_prime, and fnmr_at_fmr_0.001 (the target as a plain decimal).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FNMR_PREFIX = "fnmr_at_fmr_"


def fnmr_name(target_fmr: float) -> str:
    """Return the metric name of FNMR at a target FMR.

    Example:
        >>> fnmr_name(1e-5)
        'fnmr_at_fmr_0.00001'
    """
    return FNMR_PREFIX + np.format_float_positional(target_fmr, trim="-")


def is_lower_better(metric: str) -> bool:
    """Tell whether a smaller value of the metric is the better one: true of the error rates.

    Example:
        >>> is_lower_better("eer"), is_lower_better("accuracy")
        (True, False)
    """
    return metric == "eer" or metric.startswith(FNMR_PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A measured value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Return {"value", "low", "high"}."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """How much one model's metric lies above another's, over the same people and pairs."""

    value: float
    low: float
    high: float

    @property
    def is_shown(self) -> bool:
        """Whether the 95 % interval leaves zero out."""
        return self.low > 0 or self.high < 0

    def as_dict(self) -> dict[str, float | bool]:
        """Return {"value", "low", "high", "is_shown"}."""
        ends = {"value": self.value, "low": self.low, "high": self.high}
        return {**ends, "is_shown": self.is_shown}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRecord:
    """All verification metrics of one model (or several runs of it) on one list of pairs.

    Attributes:
        metrics: Name to value and interval; with several runs the value is their mean.
        refused: Name to the reason, for what this many pairs cannot measure.
        cautions: Name to a remark, for what is measured but rests on little.
        fold_std: Plain deviation of the fold accuracies; None without folds.
        failure_to_acquire: Share of failed pictures, or of failed pairs if pictures are not known.
        pairs: Counts: mated, nonmated, failed_mated, failed_nonmated (of the first run).
        identities: How many people the interval is drawn from.
        run_values: Name to one value per run.
        seed, resamples: Of the bootstrap.
        drawn: Name to the metric in every resample, shape (resamples,); not part of `as_dict`.
        protocol: A digest of pairs, people and seed; equal where records may be compared in pairs.
    """

    metrics: dict[str, Interval]
    refused: dict[str, str]
    cautions: dict[str, str]
    fold_std: float | None
    failure_to_acquire: float
    pairs: dict[str, int]
    identities: int
    run_values: dict[str, tuple[float, ...]]
    seed: int
    resamples: int
    drawn: dict[str, NDArray[np.float64]] = field(repr=False, compare=False)
    protocol: str = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the record in plain types, ready for JSON; keys as the attributes."""
        return {
            "metrics": {name: interval.as_dict() for name, interval in self.metrics.items()},
            "refused": dict(self.refused),
            "cautions": dict(self.cautions),
            "fold_std": self.fold_std,
            "failure_to_acquire": self.failure_to_acquire,
            "pairs": dict(self.pairs),
            "identities": self.identities,
            "run_values": {name: list(values) for name, values in self.run_values.items()},
            "bootstrap": {"over": "identities", "seed": self.seed, "resamples": self.resamples},
        }
