"""Accuracy by cross-validation over folds, as LFW's protocol has it with ten.

    accuracy_f = share of right decisions in fold f at t_f
    t_f        = the threshold with the most right decisions in the other folds
    accuracy   = mean of accuracy_f

Every distinct score of the other folds, and "accept nothing", is tried as t_f. Of several best
thresholds the highest is taken (the fewest false matches), so the result is a function of the order
of the scores only. A score of -inf is a failed pair and matches at no threshold.

Source: Huang et al., "Labeled Faces in the Wild", UMass TR 07-49, 2007, View 2.
Differs: public code tries a grid of 400 distances; here every threshold is tried.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import UndefinedRateError
from marginface.evaluation.scores import check_column, check_flags, check_scores, split_scores


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldAccuracy:
    """Mean accuracy over the folds, and what stands behind it.

    `std` is the plain deviation of the fold accuracies (divided by the number of folds), as papers
    print it. It is no interval: folds share thresholds, and differ in their people.
    """

    mean: float
    std: float
    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]


def ten_fold_accuracy(scores: ArrayLike, is_mated: ArrayLike, folds: ArrayLike) -> FoldAccuracy:
    """Return the accuracy of each fold at the best threshold of the others.

    Args:
        scores: One score per pair, shape (pairs,).
        is_mated: True for same-person pairs, shape (pairs,).
        folds: The fold of each pair, any numbers or names, shape (pairs,); usually ten of them.

    Raises:
        UndefinedRateError: If there is one fold only, or no mated or no non-mated pair.

    Example:
        >>> ten_fold_accuracy([0.9, 0.1, 0.8, 0.2], [1, 0, 1, 0], [0, 0, 1, 1]).accuracies
        (1.0, 0.5)
    """
    scores = check_scores("scores", scores)
    is_mated = check_flags("is_mated", is_mated, scores.size)
    folds = check_folds(folds, scores.size)
    split_scores(scores, is_mated)
    thresholds, accuracies = [], []
    for fold in range(folds.max() + 1):
        here = folds == fold
        threshold = best_threshold(scores[~here], is_mated[~here])
        thresholds.append(threshold)
        is_right = (scores[here] >= threshold) == is_mated[here]
        accuracies.append(float(is_right.mean()))
    return FoldAccuracy(
        mean=float(np.mean(accuracies)),
        std=float(np.std(accuracies)),
        accuracies=tuple(accuracies),
        thresholds=tuple(thresholds),
    )


def best_threshold(scores: NDArray[np.float64], is_mated: NDArray[np.bool_]) -> float:
    """Return the highest of the thresholds with the most right decisions.

    It is one of the scores, or +inf where accepting nothing is best.

    Example:
        >>> best_threshold(np.array([0.1, 0.5, 0.9]), np.array([False, True, True]))
        0.5
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    # Relative to accepting nothing: each mated pair accepted wins one, each non-mated loses one.
    gain = np.cumsum(np.where(is_mated[order], 1, -1))
    ends = threshold_positions(ranked)
    gains = np.concatenate([[0], gain[ends]])
    return float(np.concatenate([[np.inf], ranked[ends]])[np.argmax(gains)])


def threshold_positions(ranked: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return where a threshold can lie in descending scores: at the last of each tied group.

    Failed pairs (-inf) stand at the end and are behind every threshold.

    Example:
        >>> threshold_positions(np.array([0.9, 0.5, 0.5, -np.inf])).tolist()
        [0, 2]
    """
    is_last = np.append(ranked[1:] != ranked[:-1], True)
    return np.flatnonzero(is_last & np.isfinite(ranked))


def check_folds(folds: ArrayLike, pairs: int) -> NDArray[np.int64]:
    """Return the folds as codes from 0, at least two of them.

    Raises:
        UndefinedRateError: If all pairs are in one fold.
    """
    codes = check_column("folds", folds, pairs)
    if codes.max(initial=0) == 0:
        raise UndefinedRateError(
            "folds must name at least 2 folds, got 1; the threshold of a fold comes from the others"
        )
    return codes
