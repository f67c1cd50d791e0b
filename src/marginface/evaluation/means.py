"""Means and shares over pictures or searches, with an interval that respects people.

    mean = Σ_i c_i Σ_{pictures k of person i} x_k / Σ_i c_i n_i

c_i counts how often person i was drawn with replacement; all pictures of a person rise and fall
together.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.evaluation.bootstrap import percentile_ends, unseen_rate
from marginface.evaluation.records import Interval


def identity_mean(
    values: ArrayLike,
    identities: ArrayLike | Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> Interval:
    """Return the mean of one number per picture, with its 95 % interval over people.

    For the difference of two methods on the same pictures, pass the differences.

    Args:
        values: One finite number per picture, shape (pictures,).
        identities: Who is on each picture.
        seed: Of the draws.
        resamples: How many draws.

    Raises:
        ValueError: If nothing is given, a value is not finite, or the lengths differ.

    Example:
        >>> identity_mean([1.0, 1.0, 3.0], ["a", "a", "b"]).value
        1.6666666666666667
    """
    numbers: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    people = np.asarray(identities)
    if numbers.ndim != 1 or not len(numbers) or len(numbers) != len(people):
        raise ValueError(
            f"values must be one per picture, got shape {numbers.shape} for {len(people)}"
        )
    if not np.isfinite(numbers).all():
        raise ValueError(f"values must be finite, got {int((~np.isfinite(numbers)).sum())} not")
    _, owner = np.unique(people, return_inverse=True)
    low, high = _ends(np.bincount(owner, numbers), np.bincount(owner), seed, resamples)
    return Interval(value=float(numbers.mean()), low=low, high=high)


def identity_share(
    hits: ArrayLike, trials: ArrayLike, *, seed: int = 0, resamples: int = 1000
) -> Interval:
    """Return the share of hits among the trials of all people, with its 95 % interval over people.

    Args:
        hits: How often it came true for each person, shape (people,).
        trials: How often it could have, shape (people,); those who never could are left out.
        seed: Of the draws.
        resamples: How many draws.

    Raises:
        ValueError: If there is no trial, or a person has more hits than trials.

    Example:
        >>> identity_share([1, 3], [2, 4]).value
        0.6666666666666666
    """
    some, all_of_them = np.asarray(hits, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    if some.ndim != 1 or some.shape != all_of_them.shape or (some > all_of_them).any():
        raise ValueError(
            f"hits must be one per person and at most the trials, got shapes {some.shape} and "
            f"{all_of_them.shape}"
        )
    tried = all_of_them > 0
    if not tried.any():
        raise ValueError("trials must hold at least one, got none")
    share = float(some.sum() / all_of_them.sum())
    ends = _ends(some[tried], all_of_them[tried], seed, resamples)
    return share_interval(share, ends, people=int(tried.sum()))


def share_interval(share: float, ends: tuple[float, float], *, people: int) -> Interval:
    """Return the interval of a share; where nobody erred, or everybody, its open end is honest.

    Example:
        >>> share_interval(1.0, (1.0, 1.0), people=100).low
        0.9637833073548235
    """
    low, high = ends
    if low == high == share and share in (0.0, 1.0):
        # No draw can hold an error nobody made: say how often one could have stayed unseen.
        unseen = unseen_rate(people)
        low, high = (0.0, unseen) if share == 0 else (1 - unseen, 1.0)
    return Interval(value=share, low=low, high=high)


def _ends(
    sums: NDArray[Any], counts: NDArray[Any], seed: int, resamples: int
) -> tuple[float, float]:
    people = len(sums)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(people, np.full(people, 1 / people), size=resamples).astype(np.float64)
    return percentile_ends((drawn @ sums) / (drawn @ counts))
