"""One-to-one verification: the rates of wrong decisions, exact over all thresholds.

A pair *matches* when its score >= the threshold t; a higher score means more alike.
    FMR(t)  = share of non-mated scores >= t    (in papers also FAR, FPR)
    FNMR(t) = share of mated scores < t         (in papers also 1 - TAR, 1 - TPR)
    EER     = (FMR + FNMR) / 2 at the threshold where the two are closest
    AUC     = P(mated > nonmated) + P(mated = nonmated) / 2      (Mann-Whitney)
    d'      = (mean of mated - mean of nonmated) / sqrt((var mated + var nonmated) / 2)
Rates are fractions in [0, 1]; only the report room writes percent. A score of -inf is a pair whose
picture failed: it matches at no threshold (see `scores`). Nothing is interpolated, so an increasing
map of the scores changes no rate; d' alone reads the scores themselves.

Source: ISO/IEC 19795-1 (terms and rates); Hanley and McNeil, "The meaning and use of the area under
    a ROC curve", Radiology 1982 (AUC); Daugman and Williams, "A proposed standard for biometric
    decidability", CardTech/SecureTech 1996 (d').
Differs: d' keeps its sign, so that an upside-down score is seen.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import UndefinedRateError
from marginface.evaluation.scores import check_scores
from marginface.evaluation.settings import check_fmr

# Whole counts stay whole: in binary, 0.29 * 100 is a little below 29.
COUNT_NUDGE = 1e-9
# Doddington's rule: with 30 errors seen, the true rate is within 30 % of the measured, 9 in 10.
RULE_OF_30 = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A threshold, the two error rates at it, and the number of pairs each rests on."""

    threshold: float
    fmr: float
    fnmr: float
    mated_pairs: int
    nonmated_pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Counts at every threshold that makes a difference, from strict to lax.

    `thresholds` starts at +inf, where nothing matches, and then holds each distinct score.
    """

    thresholds: NDArray[np.float64]
    false_matches: NDArray[np.int64]
    false_nonmatches: NDArray[np.int64]
    mated_pairs: int
    nonmated_pairs: int


def sweep(mated: ArrayLike, nonmated: ArrayLike) -> Sweep:
    """Count both kinds of errors at every distinct threshold.

    Args:
        mated: Scores of same-person pairs, shape (mated_pairs,).
        nonmated: Scores of different-person pairs, shape (nonmated_pairs,), on the same scale.

    Example:
        >>> sweep([0.9, 0.4], [0.4, 0.1]).false_matches.tolist()
        [0, 0, 1, 2]
    """
    mated = np.sort(check_scores("mated", mated))
    nonmated = np.sort(check_scores("nonmated", nonmated))
    distinct = np.unique(np.concatenate([mated, nonmated]))[::-1]
    thresholds = np.concatenate([[np.inf], distinct[np.isfinite(distinct)]])
    return Sweep(
        thresholds=thresholds,
        false_matches=nonmated.size - np.searchsorted(nonmated, thresholds),
        false_nonmatches=np.searchsorted(mated, thresholds),
        mated_pairs=mated.size,
        nonmated_pairs=nonmated.size,
    )


def fnmr_at_fmr(mated: ArrayLike, nonmated: ArrayLike, *, target_fmr: float) -> OperatingPoint:
    """Measure FNMR at the lowest threshold whose FMR does not exceed `target_fmr`.

    Nothing is interpolated: tied non-mated scores are refused together, so the measured `fmr`
    may lie below the target and never above it.

    Args:
        mated: Scores of same-person pairs, shape (mated_pairs,).
        nonmated: Scores of different-person pairs, shape (nonmated_pairs,), on the same scale.
        target_fmr: The highest false match rate allowed, a fraction in (0, 1).

    Raises:
        UndefinedRateError: If there are fewer than 1 / target_fmr non-mated pairs, too few to see
            one false match.

    Example:
        >>> fnmr_at_fmr([0.9, 0.8, 0.7, 0.3], [0.6, 0.4, 0.2, 0.1], target_fmr=0.25).fnmr
        0.25
    """
    mated = check_scores("mated", mated)
    nonmated = np.sort(check_scores("nonmated", nonmated))
    check_fmr("target_fmr", target_fmr)
    allowed = math.floor(target_fmr * nonmated.size + COUNT_NUDGE)
    if allowed == 0:
        raise UndefinedRateError(
            f"FMR {target_fmr:g} cannot be seen in {nonmated.size:,} non-mated scores, where one "
            f"false match is {1 / nonmated.size:.1g}; give at least {least_pairs(target_fmr):,}"
        )
    highest_refused = nonmated[-allowed - 1]
    threshold = np.nextafter(highest_refused, np.inf)
    return OperatingPoint(
        threshold=float(threshold),
        fmr=float(np.mean(nonmated >= threshold)),
        fnmr=float(np.mean(mated < threshold)),
        mated_pairs=mated.size,
        nonmated_pairs=nonmated.size,
    )


def least_pairs(target_fmr: float, *, errors: int = 1) -> int:
    """Return how many non-mated pairs let `errors` false matches be seen at `target_fmr`.

    Example:
        >>> least_pairs(0.001), least_pairs(0.001, errors=30)
        (1000, 30000)
    """
    return math.ceil(errors / target_fmr - COUNT_NUDGE)


def eer(mated: ArrayLike, nonmated: ArrayLike) -> float:
    """Return the equal error rate: the mean of FMR and FNMR where they are closest.

    Where two thresholds are equally close, the lower mean counts. The two rates rarely meet
    exactly; half their gap is at most half the weight of one score.

    Example:
        >>> eer([0.9, 0.8, 0.7, 0.3], [0.6, 0.4, 0.2, 0.1])
        0.25
    """
    counts = sweep(mated, nonmated)
    # In whole numbers, so that equally close is a fact and not a rounding.
    false_match = counts.false_matches * counts.mated_pairs
    false_nonmatch = counts.false_nonmatches * counts.nonmated_pairs
    gap = np.abs(false_match - false_nonmatch)
    total = (false_match + false_nonmatch)[gap == gap.min()].min()
    return float(total / (2 * counts.mated_pairs * counts.nonmated_pairs))


def auc(mated: ArrayLike, nonmated: ArrayLike) -> float:
    """Return the area under the ROC curve: how often a mated pair outscores a non-mated one.

    Ties count a half, so scores without information give 0.5. Two failed pairs tie too.

    Example:
        >>> auc([0.9, 0.5], [0.5, 0.1])
        0.875
    """
    mated = check_scores("mated", mated)
    nonmated = np.sort(check_scores("nonmated", nonmated))
    below = np.searchsorted(nonmated, mated, side="left").sum()
    not_above = np.searchsorted(nonmated, mated, side="right").sum()
    return float((below + not_above) / (2 * mated.size * nonmated.size))


def d_prime(mated: ArrayLike, nonmated: ArrayLike) -> float:
    """Return the distance between the two score clouds in units of their pooled spread.

    Variances are those of the sample at hand (divided by n). Failed pairs have no place on the
    scale of scores and are left out here, and here only.

    Raises:
        UndefinedRateError: If neither cloud has any spread, or all pairs of one kind failed.

    Example:
        >>> d_prime([3.0, 5.0], [-1.0, 1.0])
        4.0
    """
    clouds = {}
    for name, values in (("mated", mated), ("nonmated", nonmated)):
        scores = check_scores(name, values)
        clouds[name] = scores[np.isfinite(scores)]
        if clouds[name].size == 0:
            raise UndefinedRateError(f"d' needs {name} scores, got {scores.size:,} failed pairs")
    spread = math.sqrt((clouds["mated"].var() + clouds["nonmated"].var()) / 2)
    if spread == 0:
        raise UndefinedRateError(
            "d' needs scores that differ, got one mated value and one non-mated value"
        )
    return float((clouds["mated"].mean() - clouds["nonmated"].mean()) / spread)
