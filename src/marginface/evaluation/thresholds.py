"""Thresholds: fixed on one set of pairs, applied to another, and fixed anew in every resample.

    t* = the lowest threshold with FMR(t*) <= target        (see `verification.fnmr_at_fmr`)

A threshold states a false match rate only where the pairs could have shown it to be wrong. By the
rule of 3, no false match in n independent pairs still allows a true rate of 3/n (95 %); so a
threshold is frozen at a target only where there are at least 3 / target non-mated pairs.

Source: ISO/IEC 19795-1:2021, annex on the rule of 3 and the rule of 30.
Differs: nothing.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import UndefinedRateError
from marginface.evaluation.scores import check_flags, check_scores, split_scores
from marginface.evaluation.settings import check_fmr
from marginface.evaluation.verification import COUNT_NUDGE, RULE_OF_30, fnmr_at_fmr, least_pairs

# No error in n independent trials: with 95 % confidence the true rate is at most 3 / n.
RULE_OF_3 = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenThreshold:
    """A threshold and the counts it was fixed on.

    Attributes:
        value: Two faces match when score >= value.
        target_fmr: The highest false match rate allowed.
        fmr: The rate measured at the value; never above the target.
        false_matches: How many non-mated pairs match at it.
        nonmated_pairs: Of so many.
        caution: What the rule of 30 has to say; empty where it is content.
    """

    value: float
    target_fmr: float
    fmr: float
    false_matches: int
    nonmated_pairs: int
    caution: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields in plain types, ready for JSON."""
        return asdict(self)


def check_supported(target_fmr: float, nonmated_pairs: int) -> None:
    """Raise unless so many non-mated pairs can support a false match rate by the rule of 3.

    Raises:
        ValueError: If the target is no fraction in (0, 1).
        UndefinedRateError: If there are fewer than 3 / target_fmr pairs.
    """
    check_fmr("target_fmr", target_fmr)
    if nonmated_pairs < (needed := least_pairs(target_fmr, errors=RULE_OF_3)):
        raise UndefinedRateError(
            f"a threshold at FMR {target_fmr:g} must rest on at least {needed:,} non-mated pairs "
            f"(rule of 3), got {nonmated_pairs:,}; give more pairs or a larger FMR"
        )


def freeze_threshold(scores: ArrayLike, is_mated: ArrayLike, *, fmr: float) -> FrozenThreshold:
    """Fix the lowest threshold whose false match rate does not exceed `fmr`, for use elsewhere.

    Args:
        scores: Higher is more alike, -inf where a picture failed, shape (pairs,).
        is_mated: True for same-person pairs, shape (pairs,).
        fmr: The highest false match rate allowed, a fraction in (0, 1).

    Raises:
        UndefinedRateError: If there are fewer than 3 / fmr non-mated pairs, or no mated pair.

    Example:
        >>> frozen = freeze_threshold([0.9, 0.5, 0.3, 0.2, 0.1, 0.0, -0.1], [1] + 6 * [0], fmr=0.5)
        >>> frozen.false_matches, frozen.fmr, 0.1 < frozen.value < 0.2
        (3, 0.5, True)
    """
    scores = check_scores("scores", scores)
    is_mated = check_flags("is_mated", is_mated, scores.size)
    mated, nonmated = split_scores(scores, is_mated)
    check_supported(fmr, nonmated.size)
    point = fnmr_at_fmr(mated, nonmated, target_fmr=fmr)
    false_matches = int(np.sum(nonmated >= point.threshold))
    caution = ""
    if false_matches < RULE_OF_30:
        caution = (
            f"rests on {false_matches} false matches of {nonmated.size:,} non-mated pairs; the "
            f"rule of 30 asks for {least_pairs(fmr, errors=RULE_OF_30):,} pairs"
        )
    return FrozenThreshold(
        value=point.threshold,
        target_fmr=fmr,
        fmr=point.fmr,
        false_matches=false_matches,
        nonmated_pairs=nonmated.size,
        caution=caution,
    )


def rates_at(scores: ArrayLike, is_mated: ArrayLike, threshold: float) -> tuple[float, float]:
    """Return (FMR, FNMR) of a threshold that was fixed elsewhere.

    Args:
        scores: Higher is more alike, -inf where a picture failed, shape (pairs,).
        is_mated: True for same-person pairs, shape (pairs,).
        threshold: Two faces match when score >= threshold.

    Example:
        >>> rates_at([0.9, 0.4, 0.4, 0.1], [1, 1, 0, 0], 0.4)
        (0.5, 0.0)
    """
    scores = check_scores("scores", scores)
    mated, nonmated = split_scores(scores, check_flags("is_mated", is_mated, scores.size))
    return float(np.mean(nonmated >= threshold)), float(np.mean(mated < threshold))


class WeightedRefusal:
    """The highest refused non-mated score at an FMR target, under many weightings at once.

    A pair matches when its score lies above the refused one, which is the same decision as that of
    `fnmr_at_fmr`: tied non-mated scores are refused together.

    Args:
        nonmated: Scores of the non-mated pairs, -inf for failed ones, shape (nonmated_pairs,).
        target_fmr: The highest false match rate allowed, a fraction in (0, 1).
    """

    def __init__(self, nonmated: NDArray[np.float64], target_fmr: float) -> None:
        self.order = np.argsort(-nonmated, kind="stable")
        self.ranked = nonmated[self.order]
        self.target_fmr = target_fmr

    def measure(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the highest refused score of each weighting, shape (weightings,).

        Args:
            weights: Weight of every non-mated pair, shape (weightings, nonmated_pairs); each row
                gives some weight.
        """
        running = np.cumsum(weights[:, self.order], axis=1)
        allowed = self.target_fmr * running[:, -1:] + COUNT_NUDGE
        return self.ranked[np.argmax(running > allowed, axis=1)]
