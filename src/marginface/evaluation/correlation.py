"""Rank correlation of two measures of the same pictures, with an interval over people.

    ρ = Pearson's correlation of the ranks, ties given the mean of their ranks

Pictures of one person are alike in quality and in much else, so people are drawn, not pictures:
a picture whose person is drawn twice counts as two equal pictures.

Source: Spearman, "The proof and measurement of association between two things", 1904.
Differs: nothing.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import UndefinedRateError
from marginface.evaluation.bootstrap import BLOCK, percentile_ends
from marginface.evaluation.records import Interval
from marginface.evaluation.scores import check_column
from marginface.evaluation.settings import check_settings

Weights = NDArray[np.float64]


def rank_correlation(
    quality: ArrayLike,
    measure: ArrayLike,
    identities: ArrayLike,
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> Interval:
    """Return Spearman's ρ of two measures with its 95 % interval from an identity bootstrap.

    A draw in which one measure does not vary has no ρ and is left out.

    Args:
        quality: One value a picture, shape (pictures,).
        measure: Another value of the same pictures.
        identities: The person on each picture, any names or numbers.
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap, at least 1.

    Raises:
        ValueError: If shapes differ or a value is not finite.
        UndefinedRateError: If a measure does not vary, or there are fewer than two people.

    Example:
        >>> found = rank_correlation([1, 2, 3, 4], [10, 20, 30, 30], ["a", "b", "c", "d"])
        >>> round(found.value, 4)
        0.9487
    """
    one, other = _check("quality", quality), _check("measure", measure)
    if one.shape != other.shape:
        raise ValueError(
            f"quality and measure must have one shape, got {one.shape} and {other.shape}"
        )
    check_settings(resamples=resamples, seed=seed)
    people = check_column("identities", identities, one.size)
    count = int(people.max()) + 1
    if count < 2:
        raise UndefinedRateError("rank correlation must rest on at least 2 people, got 1")
    value = float(weighted_spearman(one, other, np.ones((1, people.size)))[0])
    if np.isnan(value):
        raise UndefinedRateError("rank correlation needs two measures that vary, got a constant")
    rng = np.random.default_rng(seed)
    rows, drawn, missing = max(1, BLOCK // people.size), [], resamples
    while missing > 0:
        draws = rng.multinomial(count, np.full(count, 1 / count), size=min(rows, missing))
        drawn.append(weighted_spearman(one, other, draws[:, people].astype(np.float64)))
        missing -= len(draws)
    found = np.concatenate(drawn)
    if np.isnan(found).all():
        raise UndefinedRateError(f"no draw of {count} people lets both measures vary")
    low, high = percentile_ends(found)
    return Interval(value=value, low=low, high=high)


def weighted_spearman(
    first: NDArray[np.float64], second: NDArray[np.float64], weights: Weights
) -> Weights:
    """Return ρ under each weighting, shape (weightings,); NaN where a measure does not vary.

    Args:
        first: Shape (pictures,).
        second: Shape (pictures,).
        weights: How often each picture counts, shape (weightings, pictures).
    """
    total = weights.sum(axis=1, keepdims=True)
    centred = []
    for values in (first, second):
        ranks = _ranks(values, weights)
        centred.append(ranks - (weights * ranks).sum(axis=1, keepdims=True) / total)
    one, other = centred
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt((weights * one**2).sum(axis=1) * (weights * other**2).sum(axis=1))
        correlation = (weights * one * other).sum(axis=1) / spread
    # Ranks are halves of whole numbers: a spread below this is rounding of the mean.
    return np.where(spread > 1e-6, correlation.clip(-1, 1), np.nan)


def _ranks(values: NDArray[np.float64], weights: Weights) -> Weights:
    """Return mean ranks of ties, less the constant 1/2, under each weighting."""
    codes = np.unique(values, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(codes[order]) > 0, True))
    upto = np.cumsum(weights[:, order], axis=1)[:, ends]
    before = np.concatenate([np.zeros((len(weights), 1)), upto[:, :-1]], axis=1)
    return ((before + upto) / 2)[:, codes]


def _check(name: str, values: ArrayLike) -> NDArray[np.float64]:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or column.size == 0:
        raise ValueError(f"{name} must have shape (n,) with n at least 1, got {column.shape}")
    if broken := int((~np.isfinite(column)).sum()):
        raise ValueError(f"{name} holds {broken:,} NaN or infinite values of {column.size:,}")
    return column
