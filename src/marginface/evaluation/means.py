"""A mean over pictures, with an interval that respects people.

    mean = Σ_i c_i Σ_{pictures k of person i} x_k / Σ_i c_i n_i

c_i counts how often person i was drawn with replacement; all pictures of a person rise and fall
together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.evaluation.bootstrap import percentile_ends
from marginface.evaluation.records import Interval


def identity_mean(
    values: ArrayLike, identities: Sequence[str], *, seed: int = 0, resamples: int = 1000
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
    if numbers.ndim != 1 or not len(numbers) or len(numbers) != len(identities):
        raise ValueError(
            f"values must be one per picture, got shape {numbers.shape} for {len(identities)}"
        )
    if not np.isfinite(numbers).all():
        raise ValueError(f"values must be finite, got {int((~np.isfinite(numbers)).sum())} not")
    _, owner = np.unique(np.asarray(identities), return_inverse=True)
    people = int(owner.max()) + 1
    sums = np.bincount(owner, numbers, people)
    counts = np.bincount(owner, minlength=people).astype(np.float64)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(people, np.full(people, 1 / people), size=resamples).astype(np.float64)
    low, high = percentile_ends((drawn @ sums) / (drawn @ counts))
    return Interval(value=float(numbers.mean()), low=low, high=high)
