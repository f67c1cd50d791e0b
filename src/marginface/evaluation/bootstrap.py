"""Intervals from a bootstrap over identities.

People are drawn with replacement, as many as there are; with c_i the times person i was drawn,
    a mated pair of person i weighs c_i,
    a non-mated pair of persons i and j weighs c_i · c_j,
and every metric is measured again with these weights. The interval is the range of the middle
95 % (percentiles 2.5 and 97.5). Pairs of one person rise and fall together, so the interval knows
that 4,000 pairs of 90 people are not 4,000 independent facts; drawing pairs would be too sure.

The interval speaks about other people of the same kind under the same pair list. Product weights
treble the part of the variance that belongs to single non-mated pairs (E[c²]² - 1 = 3), so where
people matter little the interval is too wide, never too narrow. Accuracy keeps the folds, weighs
the pairs and fits every threshold again. A draw without any mated or any non-mated pair is
replaced by another draw.

Source: Bolle, Ratha and Pankanti, "Error analysis of pattern recognition systems: the subsets
    bootstrap", CVIU 2004; Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007,
    arXiv:0712.1111 (product weights).
Differs: nothing.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from marginface.errors import UndefinedRateError
from marginface.evaluation.settings import check_settings

LEVEL = 0.95
# Numbers per block of weights: about 3 MB, which stays in a core's cache.
BLOCK = 400_000
# Draws per wanted resample before giving up on a list where hardly a draw holds both kinds.
PATIENCE = 100


class IdentityBootstrap:
    """Draw people with replacement and weigh their pairs; the same draws for every model.

    Args:
        first: Code of the first picture's person, from 0, shape (pairs,).
        second: Code of the second picture's person, shape (pairs,).
        seed: Of the draws, and of nothing else; at least 0.
        resamples: How many draws, at least 1.
    """

    def __init__(
        self, first: NDArray[np.int64], second: NDArray[np.int64], *, seed: int, resamples: int
    ) -> None:
        check_settings(resamples=resamples, seed=seed)
        self.identities = int(max(first.max(), second.max())) + 1
        self.is_mated = first == second
        self.first = first
        # The column past the last person always holds 1: a mated pair weighs c_i, not c_i².
        self.second = np.where(self.is_mated, self.identities, second)
        self.seed = seed
        self.resamples = resamples

    def blocks(self) -> Iterator[NDArray[np.float64]]:
        """Yield the pair weights, shape (some resamples, pairs), the same at every call.

        Raises:
            UndefinedRateError: If hardly a draw holds both kinds of pairs.
        """
        rng = np.random.default_rng(self.seed)
        rows = max(1, BLOCK // max(self.first.size, self.identities))
        kinds = np.stack([self.is_mated, ~self.is_mated], axis=1).astype(np.float64)
        missing, patience = self.resamples, PATIENCE * self.resamples
        while missing > 0:
            if patience < 0:
                raise UndefinedRateError(
                    f"resampling {self.identities} identities hardly ever keeps a mated and a "
                    "non-mated pair; give pairs of more people"
                )
            patience -= rows
            weights = self._draw(rng, rows)
            has_both = (weights @ kinds > 0).all(axis=1)
            weights = weights[has_both][:missing]
            missing -= len(weights)
            if len(weights):
                yield weights

    def _draw(self, rng: np.random.Generator, rows: int) -> NDArray[np.float64]:
        even = np.full(self.identities, 1 / self.identities)
        counts = np.ones((rows, self.identities + 1))
        counts[:, :-1] = rng.multinomial(self.identities, even, size=rows)
        weights = counts[:, self.first]
        weights *= counts[:, self.second]
        return weights


def draw_runs(runs: int, *, seed: int, resamples: int) -> NDArray[np.int64]:
    """Draw, for each resample, which training runs to average: `runs` of them with replacement.

    Runs of different seeds differ by luck; drawing them too keeps that luck inside the interval.
    Two models with equally many runs get the same draws, so that runs of one seed stay together.

    Returns:
        Run indices, shape (resamples, runs).
    """
    rng = np.random.default_rng([seed, runs])
    return rng.integers(runs, size=(resamples, runs))


def percentile_ends(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of the middle 95 % of the draws; NaN draws are left out.

    Raises:
        UndefinedRateError: If no draw is finite.

    Example:
        >>> [round(end, 6) for end in percentile_ends(np.arange(1001.0))]
        [25.0, 975.0]
    """
    tail = (1 - LEVEL) / 2
    finite = drawn[np.isfinite(drawn)]
    if finite.size == 0:
        raise UndefinedRateError(
            f"none of {drawn.size:,} resamples holds pairs it can be measured on; "
            "give pairs of more people"
        )
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def unseen_rate(identities: int) -> float:
    """Return the highest rate at which `identities` people would show no error, 1 in 40 times.

    The bootstrap cannot draw an error nobody made; this is the honest end of such an interval.

    Example:
        >>> round(unseen_rate(100), 3)
        0.036
    """
    return float(1 - ((1 - LEVEL) / 2) ** (1 / identities))
