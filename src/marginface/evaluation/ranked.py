"""All metrics of one score vector under many weightings of its pairs at once.

The scores are sorted once. A weighting is then one row of cumulative sums, and a metric is a look
at the right column: 4,000 pairs under 1,000 weightings take about a second. With all weights 1
each metric equals its plain twin in `verification` and `folds`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marginface.evaluation.folds import threshold_positions
from marginface.evaluation.verification import COUNT_NUDGE

Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Fold:
    """Where one fold's threshold can lie, and what it does to the fold."""

    others: NDArray[np.int64]  # ranked positions outside the fold
    ends: NDArray[np.int64]  # among `others`, the last of each tied group
    here: NDArray[np.int64]  # ranked positions inside the fold
    accepted: NDArray[np.int64]  # per threshold, how many of `here` match; first of none
    share: float  # weight of one pair, so that every fold counts alike


class RankedPairs:
    """Pairs in descending order of score, ready to be weighted.

    Args:
        scores: One score per pair, -inf for a failed one, shape (pairs,).
        is_mated: True for same-person pairs, shape (pairs,).
        folds: Fold code of each pair from 0, or None to leave accuracy out.
    """

    def __init__(
        self,
        scores: NDArray[np.float64],
        is_mated: NDArray[np.bool_],
        folds: NDArray[np.int64] | None,
    ) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ranked = scores[self.order]
        self.is_mated = is_mated[self.order]
        self.ends = threshold_positions(ranked)
        # Centred, so that the weighted variance does not cancel; a failed pair has no place.
        self.has_score = np.isfinite(ranked)
        middle = ranked[self.has_score].mean() if self.has_score.any() else 0.0
        self.centred = np.where(self.has_score, ranked - middle, 0.0)
        self.folds = [] if folds is None else _prepare_folds(ranked, folds[self.order])

    def measure(self, weights: Weights, targets: dict[str, float]) -> dict[str, Weights]:
        """Return each metric under each weighting, shape (weightings,).

        Args:
            weights: Weight of every pair in its original order, shape (weightings, pairs); each
                row gives some weight to mated and to non-mated pairs.
            targets: Metric name to target FMR.
        """
        weights = weights[:, self.order]
        mated = np.where(self.is_mated, weights, 0.0)
        nonmated = weights - mated
        hits, false = _accepted(mated, self.ends), _accepted(nonmated, self.ends)
        mated_total, nonmated_total = mated.sum(axis=1), nonmated.sum(axis=1)
        drawn = {
            "eer": _eer(hits, false, mated_total, nonmated_total),
            "auc": _auc(hits, false, mated_total, nonmated_total),
            "d_prime": self._d_prime(mated, nonmated),
        }
        for name, target in targets.items():
            allowed = target * nonmated_total[:, None] + COUNT_NUDGE
            laxest = (false <= allowed).sum(axis=1, keepdims=True) - 1
            drawn[name] = 1 - np.take_along_axis(hits, laxest, axis=1)[:, 0] / mated_total
        if self.folds:
            drawn["accuracy"] = self._accuracy(mated, nonmated, mated_total, nonmated_total)
        return drawn

    def _d_prime(self, mated: Weights, nonmated: Weights) -> Weights:
        means, variances = [], []
        for part in (mated, nonmated):
            with np.errstate(invalid="ignore", divide="ignore"):
                total = part @ self.has_score.astype(np.float64)
                mean = part @ self.centred / total
                variances.append(np.maximum(part @ self.centred**2 / total - mean**2, 0))
            means.append(mean)
        with np.errstate(invalid="ignore", divide="ignore"):
            distance = (means[0] - means[1]) / np.sqrt((variances[0] + variances[1]) / 2)
        return np.where(np.isfinite(distance), distance, np.nan)

    def _accuracy(
        self, mated: Weights, nonmated: Weights, mated_total: Weights, nonmated_total: Weights
    ) -> Weights:
        """Re-fit each fold's threshold on the weighted others; folds stay what they are.

        Both kinds are brought back to their number of pairs: the protocol fixes how many of each
        are compared, whoever the people are, and accuracy depends on that share.
        """
        mated_pairs = int(self.is_mated.sum())
        mated_scale = (mated_pairs / mated_total)[:, None]
        nonmated_scale = ((self.is_mated.size - mated_pairs) / nonmated_total)[:, None]
        refused = nonmated * nonmated_scale
        gain = mated * mated_scale - refused
        weight = gain + 2 * refused
        right, total = np.zeros(len(gain)), np.zeros(len(gain))
        for fold in self.folds:
            gains = _accepted(gain[:, fold.others], fold.ends)
            best = fold.accepted[np.argmax(gains, axis=1)]
            running = _leading_zero(np.cumsum(gain[:, fold.here], axis=1))
            kept = np.take_along_axis(running, best[:, None], axis=1)[:, 0]
            right += fold.share * (kept + refused[:, fold.here].sum(axis=1))
            total += fold.share * weight[:, fold.here].sum(axis=1)
        # Scaled weights do not add up exactly; a perfect model must still be 1, not 1 + 4e-16.
        return np.round(right / total, 12)


def _prepare_folds(ranked: NDArray[np.float64], folds: NDArray[np.int64]) -> list[_Fold]:
    prepared = []
    for code in range(folds.max() + 1):
        others, here = np.flatnonzero(folds != code), np.flatnonzero(folds == code)
        ends = threshold_positions(ranked[others])
        # Scores descend, so their negatives ascend, as searchsorted wants them.
        accepted = np.searchsorted(-ranked[here], -ranked[others][ends], side="right")
        prepared.append(_Fold(others, ends, here, np.append(0, accepted), 1 / here.size))
    return prepared


def _accepted(values: Weights, ends: NDArray[np.int64]) -> Weights:
    """Sum the ranked values down to each threshold; the first accepts nothing."""
    return _leading_zero(np.cumsum(values, axis=1)[:, ends])


def _leading_zero(sums: Weights) -> Weights:
    return np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)


def _eer(hits: Weights, false: Weights, mated: Weights, nonmated: Weights) -> Weights:
    # FMR rises and FNMR falls along the columns, so the closest lies at one side of the crossing.
    fmr, fnmr = false / nonmated[:, None], 1 - hits / mated[:, None]
    # Whole numbers compare exactly; the quotients above would not.
    lead = false * mated[:, None] - (mated[:, None] - hits) * nonmated[:, None]
    after = (lead < 0).sum(axis=1).clip(max=lead.shape[1] - 1)
    sides = np.stack([after - 1, after], axis=1).clip(min=0)
    gap = np.abs(np.take_along_axis(lead, sides, axis=1))
    mean = np.take_along_axis(fmr + fnmr, sides, axis=1) / 2
    is_later = (gap[:, 1] < gap[:, 0]) | ((gap[:, 1] == gap[:, 0]) & (mean[:, 1] < mean[:, 0]))
    return np.where(is_later, mean[:, 1], mean[:, 0])


def _auc(hits: Weights, false: Weights, mated: Weights, nonmated: Weights) -> Weights:
    # The last step holds the failed pairs, all tied behind every threshold.
    hits = np.concatenate([hits, mated[:, None]], axis=1)
    false = np.concatenate([false, nonmated[:, None]], axis=1)
    outscored = nonmated[:, None] - (false[:, 1:] + false[:, :-1]) / 2
    return (np.diff(hits, axis=1) * outscored).sum(axis=1) / (mated * nonmated)
