"""The bootstrap over identities for millions of pairs: exact, without weighing every pair anew.

With c_i the times person i was drawn, a non-mated pair weighs c_i · c_j. Down the ranking of the
non-mated scores let W(r) be the weight of the first r pairs. FNMR at FMR f needs, in each resample,
the last rank (at the end of a group of equal scores) with W(r) <= f · W(all).

Ranks around f · pairs are cut into segments. The weight of a whole segment in all resamples at once
is one matrix product, with N_ij the number of its pairs of persons i and j:
    Σ_ij c_i · N_ij · c_j
so that only the one segment in which a resample's answer lies is ranked pair by pair. The weights
are whole numbers and are added exactly. The draws are those of `bootstrap.IdentityBootstrap`, and
so are the results.

Source: as `bootstrap`; the segments are ours.
Differs: nothing.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.errors import UndefinedRateError
from marginface.evaluation.bootstrap import PATIENCE
from marginface.evaluation.settings import check_settings
from marginface.evaluation.verification import COUNT_NUDGE

Codes = NDArray[np.int64]
Weights = NDArray[np.float64]
Counts = NDArray[np.float32]

# Where segments begin and end, as parts of the rank a target has without weights.
CUTS = (0.4, 0.6, 0.72, 0.8, 0.86, 0.91, 0.95, 1.0, 1.05, 1.1, 1.16, 1.23, 1.32, 1.5, 2.0)
# Whole numbers up to here are exact in float32.
EXACT = 1 << 24
# Numbers per block of gathered weights: they stay in a core's cache.
BLOCK = 1 << 18
# Persons for which a matrix of all their pairs still fits: 256 MiB of float32.
DENSE = 8192
# Gathering the weight of a pair costs as much as a product over so many pairs of persons.
GATHER_COST = 32
# Pairs gathered at a time: their weights are added exactly in float32 and stay in a core's cache.
SLICE = 256


class ManyPairs:
    """Pairs of both kinds ranked once, ready to be weighed.

    Args:
        mated: Scores, -inf for failed pairs, shape (mated,).
        nonmated: The same of non-mated pairs.
        mated_identity: Person code from 0 of each mated pair.
        first: Person code of each non-mated pair's first side.
        second: Of its second side.
    """

    def __init__(
        self,
        mated: NDArray[np.floating[Any]],
        nonmated: NDArray[np.floating[Any]],
        *,
        mated_identity: Codes,
        first: Codes,
        second: Codes,
    ) -> None:
        order = np.argsort(mated, kind="stable")[::-1]
        self.mated_ascending = mated[order[::-1]]
        self.mated_identity = mated_identity[order]
        self.nonmated = nonmated
        self.first, self.second = first, second
        self.identities = int(max(mated_identity.max(), first.max(), second.max())) + 1

    def draws(self, *, seed: int, resamples: int) -> Counts:
        """Return how often each person was drawn, shape (resamples, identities).

        Raises:
            UndefinedRateError: If hardly a draw holds both kinds of pairs.
        """
        check_settings(resamples=resamples, seed=seed)
        rng = np.random.default_rng(seed)
        even = np.full(self.identities, 1 / self.identities)
        kept: list[Counts] = []
        missing, patience = resamples, PATIENCE * resamples
        while missing > 0:
            if patience < 0:
                raise UndefinedRateError(
                    f"resampling {self.identities} identities hardly ever keeps a mated and a "
                    "non-mated pair; give pairs of more people"
                )
            rows = min(missing, 1000)
            patience -= rows
            counts = rng.multinomial(self.identities, even, size=rows).astype(np.float32)
            has_mated = counts[:, np.unique(self.mated_identity)].any(axis=1)
            counts = counts[has_mated & (pair_weights(counts, self.first, self.second) > 0)]
            kept.append(counts[:missing])
            missing -= len(kept[-1])
        return np.concatenate(kept)

    def fnmr(self, counts: Counts, targets: Sequence[float]) -> Weights:
        """Return FNMR at each target in each resample, shape (targets, resamples).

        Args:
            counts: From `draws`.
            targets: FMR targets, fractions in (0, 1).
        """
        total = pair_weights(counts, self.first, self.second)
        reach = 2 * max(targets)
        while True:
            ranked = self._ranking(reach)
            cuts = _cuts(targets, self.nonmated.size, ranked.size)
            above = self._weight_above(counts, ranked, cuts)
            allowed = np.array([target * total + COUNT_NUDGE for target in targets])
            if ranked.size == self.nonmated.size or (above[-1] > allowed.max(axis=0)).all():
                break
            # Some resample lets more pass than the ranking holds: rank more of them.
            reach *= 4
        refused = np.stack([self._highest_refused(counts, ranked, cuts, above, a) for a in allowed])
        return self._missed(counts, refused)

    def _ranking(self, reach: float) -> Codes:
        """Return the non-mated pairs in descending order of score, the best `reach` of them."""
        scores, most = self.nonmated, int(reach * self.nonmated.size) + 1
        if most >= scores.size:
            return np.argsort(-scores, kind="stable")
        last = np.partition(scores, scores.size - most)[scores.size - most]
        chosen = np.flatnonzero(scores >= last)
        return chosen[np.argsort(-scores[chosen], kind="stable")]

    def _weight_above(self, counts: Counts, ranked: Codes, cuts: Codes) -> Weights:
        """Return the weight down to each cut, shape (cuts, resamples); the first cut is 0."""
        parts = [
            pair_weights(counts, self.first[ranked[start:stop]], self.second[ranked[start:stop]])
            for start, stop in pairwise(cuts)
        ]
        return np.concatenate([np.zeros((1, len(counts))), np.cumsum(parts, axis=0)])

    def _highest_refused(
        self, counts: Counts, ranked: Codes, cuts: Codes, above: Weights, allowed: Weights
    ) -> NDArray[np.floating[Any]]:
        """Return in each resample the highest non-mated score that must not match."""
        refused = np.full(len(counts), -np.inf, dtype=self.nonmated.dtype)
        segment_of = (above <= allowed).sum(axis=0) - 1
        for segment in np.unique(segment_of):
            if segment == len(cuts) - 1:
                continue  # everything may match
            rows = np.flatnonzero(segment_of == segment)
            pairs = ranked[cuts[segment] : cuts[segment + 1]]
            left = allowed[rows] - above[segment, rows]
            refused[rows] = self._first_too_many(np.ascontiguousarray(counts[rows].T), pairs, left)
        return refused

    def _first_too_many(
        self, drawn: Counts, pairs: Codes, left: Weights
    ) -> NDArray[np.floating[Any]]:
        """Return the score of the first pair that is one too many; the tied are refused with it."""
        found = np.full(left.size, -np.inf, dtype=self.nonmated.dtype)
        for start in range(0, pairs.size, SLICE):
            part = pairs[start : start + SLICE]
            weights = _weights(drawn, self.first[part], self.second[part])
            after = left - weights.sum(axis=0)
            ends = np.flatnonzero((left >= 0) & (after < 0))
            running = np.cumsum(weights[:, ends], axis=0, dtype=np.float64)
            found[ends] = self.nonmated[part[np.argmax(running > left[ends], axis=0)]]
            left = after
        return found

    def _missed(self, counts: Counts, refused: NDArray[np.floating[Any]]) -> Weights:
        fnmr = np.empty(refused.shape)
        matching = self.mated_ascending.size - np.searchsorted(
            self.mated_ascending, refused, side="right"
        )
        rows = max(1, BLOCK // self.mated_identity.size)
        for start in range(0, len(counts), rows):
            part = slice(start, start + rows)
            running = np.cumsum(counts[part][:, self.mated_identity], axis=1, dtype=np.float64)
            hits = np.concatenate([np.zeros((len(running), 1)), running], axis=1)
            found = np.take_along_axis(hits, matching[:, part].T, axis=1).T
            fnmr[:, part] = 1 - found / running[:, -1]
        return fnmr


def pair_weights(counts: Counts, first: Codes, second: Codes) -> Weights:
    """Return Σ c_i · c_j over the listed pairs in every resample, exact, shape (resamples,).

    Example:
        >>> pair_weights(np.array([[2, 1, 0]], np.float32), np.array([0, 0]), np.array([1, 2]))
        array([2.])
    """
    identities = counts.shape[1]
    if identities <= DENSE and identities**2 < GATHER_COST * len(first):
        together = np.bincount(first * identities + second, minlength=identities**2)
        square = together.reshape(identities, identities).astype(np.float32)
        products = counts @ square
        if products.max() < EXACT:
            return np.einsum("ri,ri->r", products, counts, dtype=np.float64)
    drawn = np.ascontiguousarray(counts.T)
    totals = np.zeros(len(counts))
    for start in range(0, len(first), SLICE):
        part = slice(start, start + SLICE)
        totals += _weights(drawn, first[part], second[part]).sum(axis=0)
    return totals


def _weights(drawn: Counts, first: Codes, second: Codes) -> Counts:
    """Return c_i · c_j of some pairs, shape (pairs, resamples), of counts turned on their side."""
    # Whole rows are copied at a time, which is ten times as fast as picking columns.
    weights = drawn.take(first, axis=0)
    weights *= drawn.take(second, axis=0)
    return weights


def _cuts(targets: Sequence[float], pairs: int, ranked: int) -> Codes:
    places = [int(cut * target * pairs) for target in targets for cut in CUTS]
    inside = [place for place in places if 0 < place < ranked]
    return np.unique([0, *inside, ranked])
