"""What a list of comparison scores must look like before anything is measured on it.

A higher score means more alike. A pair with a picture in which no face could be acquired has no
score; it is written as -inf, so that it matches at no threshold:
    a failed mated pair is a false non-match, a failed non-mated pair is a correct rejection.
The rates then are the generalised ones (GFMR, GFNMR), which nobody improves by dropping hard faces.

Source: ISO/IEC 19795-1, generalised false match and false non-match rates.
Differs: nothing.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import UndefinedRateError

FAILED = -np.inf


def check_scores(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return the scores as float64, or say what is wrong with them.

    Raises:
        ValueError: If the shape is not (n,), or a score is NaN or +inf.
        UndefinedRateError: If there is not one score.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1:
        raise ValueError(f"{name} must hold one score per pair, shape (n,), got {scores.shape}")
    if scores.size == 0:
        raise UndefinedRateError(f"{name} must hold at least one score, got none")
    if broken := int(np.sum(np.isnan(scores) | (scores == np.inf))):
        raise ValueError(
            f"{name} holds {broken:,} NaN or infinite scores of {scores.size:,}; "
            "name pairs without a score in `failed`"
        )
    return scores


def check_runs(name: str, values: ArrayLike | Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Return one or several score vectors as (runs, pairs), each checked by `check_scores`.

    Failed pairs must already be -inf. Only the shape is checked where a score is allowed to be
    anything because its pair failed; see `with_failures`.
    """
    runs = np.asarray(values, dtype=np.float64)
    if runs.ndim not in (1, 2):
        raise ValueError(
            f"{name} must have shape (pairs,) or (runs, pairs), got {runs.shape}; "
            "every run judges the same pairs"
        )
    runs = np.atleast_2d(runs)
    if runs.size == 0:
        raise UndefinedRateError(f"{name} must hold at least one score, got none")
    return runs


def with_failures(
    name: str, values: ArrayLike | Sequence[ArrayLike], failed: ArrayLike | None
) -> NDArray[np.float64]:
    """Return the scores as (runs, pairs) with -inf where the mask says a picture failed.

    Args:
        name: What to call the scores in an error.
        values: Scores, shape (pairs,) or (runs, pairs).
        failed: True where a picture of the pair gave no face, shape (pairs,) or (runs, pairs).
            Whatever stands in the scores there, NaN included, is ignored.

    Raises:
        ValueError: If a shape is wrong, or a score of a pair that did not fail is not finite.
        UndefinedRateError: If there is not one score.
    """
    runs = check_runs(name, values)
    if failed is not None:
        mask = np.asarray(failed)
        if mask.dtype != np.bool_ or mask.shape not in (runs.shape, runs.shape[1:]):
            raise ValueError(
                f"failed must be bool of shape {runs.shape[1:]}, got {mask.dtype} {mask.shape}"
            )
        runs = np.where(mask, FAILED, runs)
    for run in runs:
        check_scores(name, run)
    return runs


def check_flags(name: str, values: ArrayLike, pairs: int) -> NDArray[np.bool_]:
    """Return a bool mask of shape (pairs,); 0 and 1 are taken as bool.

    Raises:
        ValueError: If the shape is another, or a value is neither 0 nor 1.
    """
    flags = np.asarray(values)
    if flags.shape != (pairs,):
        raise ValueError(f"{name} must have shape ({pairs},), got {flags.shape}")
    if not np.isin(flags, (0, 1)).all():
        raise ValueError(f"{name} must hold True and False, got {np.unique(flags)[:5].tolist()}")
    return flags.astype(np.bool_)


def check_column(name: str, values: ArrayLike, pairs: int) -> NDArray[np.int64]:
    """Return the values (any names or numbers) as codes 0, 1, 2 ... in their sorted order.

    Raises:
        ValueError: If the shape is not (pairs,).
    """
    column = np.asarray(values)
    if column.shape != (pairs,):
        raise ValueError(f"{name} must have shape ({pairs},), got {column.shape}")
    return np.unique(column, return_inverse=True)[1].astype(np.int64)


def split_scores(
    scores: NDArray[np.float64], is_mated: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mated scores and the non-mated scores.

    Raises:
        UndefinedRateError: If there are no mated or no non-mated pairs.
    """
    mated, nonmated = scores[is_mated], scores[~is_mated]
    for kind, part in (("mated", mated), ("non-mated", nonmated)):
        if part.size == 0:
            raise UndefinedRateError(
                f"is_mated must hold both kinds of pairs, got no {kind} pair among {scores.size:,}"
            )
    return mated, nonmated
