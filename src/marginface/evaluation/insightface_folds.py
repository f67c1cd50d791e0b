"""Accuracy over folds as insightface's public code computes it, digit for digit.

    d(a, b) = |a - b|²      of unit embeddings, in [0, 4]; a pair matches when d < t
    t_f     = the first of the best thresholds 0, 0.01, ... 3.99 in the other folds
    accuracy_f = share of right decisions in fold f at t_f

    TAR at FAR 0.001: in the other folds the FAR at 0, 0.001, ... 3.999 is drawn as a line, and the
    threshold is read where the line crosses the target; 0 where it never reaches it.

The folds are runs of neighbouring pairs, not those of a file. These are the figures of published
tables; `folds.ten_fold_accuracy` tries every threshold and takes the strictest of the best, so the
two differ by the few pairs between two points of the grid.

Each distance is looked up on the grid once; counts per fold and threshold are one `bincount`.

Source: insightface, recognition/arcface_torch/eval/verification.py, itself after facenet's lfw.py;
    the algorithm only, no code.
Differs: where the FAR line is flat exactly at the target, its last point counts, as in `np.interp`;
    the public code's SciPy call raises there today.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.evaluation.bootstrap import IdentityBootstrap
from marginface.evaluation.scores import check_flags

GRID = np.arange(0, 4, 0.01)
FINE_GRID = np.arange(0, 4, 0.001)
TARGET_FAR = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class GridAccuracy:
    """What insightface prints of one list of pairs.

    Attributes:
        mean: Mean accuracy over the folds.
        std: Plain deviation over the folds (divided by their number).
        accuracies: Of each fold.
        thresholds: The squared distance each fold was judged at.
        tar: Mean over the folds of the share of mated pairs accepted; "VAL" in the public code.
            None, as the two below, where a fold holds one kind of pairs only.
        tar_std: Its plain deviation over the folds.
        far: Mean over the folds of the FAR met at those thresholds.
        no_tar: Why there is no `tar`; empty where there is.
    """

    mean: float
    std: float
    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]
    tar: float | None
    tar_std: float | None
    far: float | None
    no_tar: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return what was measured in plain types, ready for JSON; keys as the attributes."""
        accuracy = {
            "mean": self.mean,
            "std": self.std,
            "accuracies": list(self.accuracies),
            "thresholds": list(self.thresholds),
        }
        if self.tar is None:
            return accuracy
        return accuracy | {"tar": self.tar, "tar_std": self.tar_std, "far": self.far}


def flip_summed(features: ArrayLike, mirrored: ArrayLike | None = None) -> NDArray[np.float64]:
    """Return unit embeddings in float64 of the feature plus that of the mirrored face.

    Args:
        features: Of the faces, shape (n, dim), not divided by their length.
        mirrored: Of the mirrored faces, the same shape; None where they are summed already.

    Example:
        >>> flip_summed([[3.0, 4.0]]).tolist()
        [[0.6, 0.8]]
    """
    summed = np.array(features, dtype=np.float64)
    if mirrored is not None:
        summed += np.asarray(mirrored, dtype=np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", summed, summed))
    # A feature of length 0 stays 0, as the public code leaves it.
    summed /= np.where(lengths == 0, 1, lengths)[:, None]
    return summed


def squared_distances(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return |a - b|² of each pair of rows, shape (pairs,).

    Example:
        >>> squared_distances([[1.0, 0.0]], [[0.0, 1.0]]).tolist()
        [2.0]
    """
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return np.sum(np.square(difference), 1)


def neighbouring_folds(pairs: int, folds: int) -> NDArray[np.int64]:
    """Return the fold of each pair: runs of neighbours, the first ones longer by one if need be.

    Example:
        >>> neighbouring_folds(7, 3).tolist()
        [0, 0, 0, 1, 1, 2, 2]
    """
    sizes = np.full(folds, pairs // folds)
    sizes[: pairs % folds] += 1
    return np.repeat(np.arange(folds), sizes)


def grid_accuracy(distances: ArrayLike, is_mated: ArrayLike, *, folds: int = 10) -> GridAccuracy:
    """Return accuracy and TAR at FAR 0.001 as insightface's code would print them.

    Where a fold holds one kind of pairs only, its TAR or FAR is 0 / 0, and the public code ends;
    here the accuracy still stands.

    Args:
        distances: Squared distance of each pair, shape (pairs,), in the order of the list;
            +inf for a pair without a score, which matches at no threshold.
        is_mated: True for same-person pairs, shape (pairs,).
        folds: How many, at least 2.

    Raises:
        ValueError: If a distance is NaN or negative, or `folds` does not fit.

    Example:
        >>> grid_accuracy([0.5, 1.5, 0.75, 1.9], [1, 0, 1, 0], folds=2).thresholds
        (0.76, 0.51)
    """
    distances, flags = _check(distances, is_mated, folds)
    fold = neighbouring_folds(distances.size, folds)
    accepted = _accepted(distances, flags, fold, folds, GRID)
    mated, nonmated = (np.bincount(fold[kind], minlength=folds) for kind in (flags, ~flags))
    right = accepted[1] + nonmated[:, None] - accepted[0]
    # Equal counts over equal totals compare as the public code's quotients do.
    best = np.argmax(right.sum(axis=0) - right, axis=1)
    accuracies = right[np.arange(folds), best] / (mated + nonmated)
    no_tar = _one_sided(mated, nonmated)
    tar, far = (None, None) if no_tar else _rates_at_far(distances, flags, fold, (mated, nonmated))
    return GridAccuracy(
        mean=float(np.mean(accuracies)),
        std=float(np.std(accuracies)),
        accuracies=tuple(accuracies.tolist()),
        thresholds=tuple(GRID[best].round(2).tolist()),
        tar=None if tar is None else float(np.mean(tar)),
        tar_std=None if tar is None else float(np.std(tar)),
        far=None if far is None else float(np.mean(far)),
        no_tar=no_tar,
    )


def grid_accuracy_draws(
    distances: ArrayLike, bootstrap: IdentityBootstrap, *, folds: int = 10
) -> NDArray[np.float64]:
    """Return the mean accuracy in every resample, each fold's threshold found anew on the grid.

    Folds stay what they are, and both kinds of pairs keep their share, as in `ranked`.

    Args:
        distances: Squared distance of each pair, shape (pairs,).
        bootstrap: The draws; it knows which pairs are mated.
        folds: How many.

    Returns:
        Accuracy, shape (resamples,).
    """
    flags = bootstrap.is_mated
    distances, flags = _check(distances, flags, folds)
    fold = neighbouring_folds(distances.size, folds)
    cell = fold * (GRID.size + 1) + np.searchsorted(GRID, distances, side="right")
    order = np.argsort(cell, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(cell[order]) != 0))
    places = cell[order][starts]
    share = 1 / np.bincount(fold)
    drawn = []
    for weights in bootstrap.blocks():
        mated = np.where(flags, weights, 0.0)
        nonmated = weights - mated
        mated *= (flags.sum() / mated.sum(axis=1))[:, None]
        nonmated *= ((~flags).sum() / nonmated.sum(axis=1))[:, None]
        gain = np.zeros((len(weights), folds * (GRID.size + 1)))
        gain[:, places] = np.add.reduceat((mated - nonmated).take(order, axis=1), starts, axis=1)
        gain = gain.reshape(len(weights), folds, -1).cumsum(axis=2)[:, :, : GRID.size]
        best = np.argmax(gain.sum(axis=1, keepdims=True) - gain, axis=2)
        kept = np.take_along_axis(gain, best[:, :, None], axis=2)[:, :, 0]
        ends = np.flatnonzero(np.append(True, np.diff(fold) != 0))
        refused = np.add.reduceat(nonmated, ends, axis=1)
        total = np.add.reduceat(mated, ends, axis=1) + refused
        drawn.append(((kept + refused) @ share) / (total @ share))
    # Scaled weights do not add up exactly; a perfect model must still be 1.
    accuracies: NDArray[np.float64] = np.concatenate(drawn)
    return accuracies.round(12)


def _check(
    distances: ArrayLike, is_mated: ArrayLike, folds: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    checked = np.asarray(distances, dtype=np.float64)
    if checked.ndim != 1:
        raise ValueError(f"distances must have shape (pairs,), got {checked.shape}")
    if broken := int(np.sum(~(checked >= 0))):
        raise ValueError(
            f"distances holds {broken:,} NaN or negative values of {checked.size:,}; "
            "write +inf for a pair without a score"
        )
    if not 2 <= folds <= checked.size:
        raise ValueError(f"folds must lie between 2 and the {checked.size:,} pairs, got {folds}")
    return checked, check_flags("is_mated", is_mated, checked.size)


def _accepted(
    distances: NDArray[np.float64],
    flags: NDArray[np.bool_],
    fold: NDArray[np.int64],
    folds: int,
    grid: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Count the pairs accepted at each threshold, shape (kind, folds, thresholds); mated second."""
    columns = grid.size + 1
    first_accepting = np.searchsorted(grid, distances, side="right")
    cell = (flags * folds + fold) * columns + first_accepting
    counts = np.bincount(cell, minlength=2 * folds * columns)
    return counts.reshape(2, folds, columns).cumsum(axis=2)[:, :, :-1]


def _one_sided(mated: NDArray[np.int64], nonmated: NDArray[np.int64]) -> str:
    """Say which fold lacks a kind of pairs, given how many each holds; nothing if none does."""
    for kind, counts in (("mated", mated), ("non-mated", nonmated)):
        if not counts.all():
            return (
                f"every fold must hold {kind} pairs, got none in fold {int(np.argmin(counts)) + 1} "
                f"of {counts.size}; the folds are runs of neighbouring pairs, so list mated and "
                "non-mated pairs in turn"
            )
    return ""


def _rates_at_far(
    distances: NDArray[np.float64],
    flags: NDArray[np.bool_],
    fold: NDArray[np.int64],
    counts: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return TAR and FAR of each fold at the threshold the others give for `TARGET_FAR`."""
    mated, nonmated = counts
    folds = mated.size
    accepted = _accepted(distances, flags, fold, folds, FINE_GRID)[0]
    others = (accepted.sum(axis=0) - accepted) / (nonmated.sum() - nonmated)[:, None]
    thresholds = np.array(
        [
            np.interp(TARGET_FAR, far, FINE_GRID) if far.max() >= TARGET_FAR else 0.0
            for far in others
        ]
    )
    is_accepted = distances < thresholds[fold]
    tar = np.bincount(fold[flags], weights=is_accepted[flags], minlength=folds) / mated
    far = np.bincount(fold[~flags], weights=is_accepted[~flags], minlength=folds) / nonmated
    return tar, far
