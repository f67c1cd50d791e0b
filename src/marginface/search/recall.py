"""How much an index loses: what it finds, against comparing every row.

    recall = share of the k nearest rows that it finds, as a mean over probes

A row that scores what the k-th nearest scores, to 1e-6, counts as found. Interval: 95 % percentiles
of a bootstrap of the probes, which should show different people; where nothing was lost among n
probes, the rule of 3 gives 1 - 3 / n.
"""

from dataclasses import dataclass

import numpy as np

from marginface.search.index import Index, Rows

RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """A recall with its interval.

    Args:
        recall: In [0, 1].
        low: Lower end of the 95 % interval.
        high: Upper end.
        k: How many nearest rows were asked for.
        probes: How many probes it rests on.
    """

    recall: float
    low: float
    high: float
    k: int
    probes: int


def measured_recall(index: Index, probes: Rows, k: int = 1, *, seed: int = 0) -> Recall:
    """Search twice, as the index does and exactly, and compare.

    Args:
        index: It must hold rows.
        probes: Shape (n, dim), one of each person if the interval is to hold for people.
        k: How many nearest rows to compare.
        seed: Of the bootstrap.

    Raises:
        ValueError: If the index is empty, or there are no probes.
    """
    if not len(index) or not len(probes):
        raise ValueError(f"recall needs rows and probes, got {len(index):,} and {len(probes):,}")
    wanted = min(k, len(index))
    exact = index.search(probes, wanted, exactly=True).scores
    found = index.search(probes, wanted).scores
    shares = (found >= exact[:, -1:] - 1e-6).mean(axis=1, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(len(shares), size=(RESAMPLES, len(shares)))
    low, high = np.percentile(shares[draws].mean(axis=1), (2.5, 97.5))
    if shares.min() == 1:
        low = max(0.0, 1 - 3 / len(shares))
    return Recall(
        recall=float(shares.mean()), low=float(low), high=float(high), k=wanted, probes=len(shares)
    )
