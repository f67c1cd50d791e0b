"""One-to-one rates of millions of pairs: exact, from one sort, with the public table beside them.

The rates are those of `verification.fnmr_at_fmr`: the highest FMR that does not exceed the target,
never interpolated. Published IJB tables read TAR otherwise: of the points of scikit-learn's ROC
curve, from which it leaves out points on straight stretches, the one whose FAR is nearest to the
target is taken, also when it lies above it; of several with that FAR the highest TAR. `roc_tar`
gives these digits.

Source: ISO/IEC 19795-1; insightface, recognition/_evaluation_/ijb/ijb_11.py, and scikit-learn's
    `roc_curve` (the rules only, no code).
Differs: nothing.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import UndefinedRateError
from marginface.evaluation.bootstrap import percentile_ends, unseen_rate
from marginface.evaluation.many_bootstrap import ManyPairs
from marginface.evaluation.records import Interval, PairRecord, fnmr_name
from marginface.evaluation.scores import check_flags
from marginface.evaluation.verification import (
    COUNT_NUDGE,
    RULE_OF_30,
    OperatingPoint,
    least_pairs,
)

IJB_TARGETS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
# Scores looked at on both sides of a target before the whole curve is drawn.
WINDOW = 4096

Scores = NDArray[np.floating[Any]]
Codes = NDArray[np.int64]


def fnmr_at_fmrs(
    mated: ArrayLike, nonmated: ArrayLike, targets: Sequence[float] = IJB_TARGETS
) -> tuple[dict[float, OperatingPoint], dict[float, str]]:
    """Measure FNMR at each target FMR, as `fnmr_at_fmr` does, from one sort.

    Args:
        mated: Scores, -inf for failed pairs; float32 stays float32.
        nonmated: The same of different-person pairs.
        targets: FMR targets, fractions in (0, 1).

    Returns:
        Target to operating point, and target to the reason where so few pairs cannot show it.

    Raises:
        ValueError: If a score is NaN or +inf, or a target no fraction.

    Example:
        >>> points, refused = fnmr_at_fmrs([0.9, 0.3], [0.6, 0.4, 0.2, 0.1], [0.25, 0.01])
        >>> points[0.25].fnmr, list(refused)
        (0.5, [0.01])
    """
    mated, nonmated = np.sort(_check("mated", mated)), np.sort(_check("nonmated", nonmated))
    points, refused = {}, {}
    for target in targets:
        if not 0 < target < 1:
            raise ValueError(f"targets must hold fractions in (0, 1), got {target}")
        allowed = math.floor(target * nonmated.size + COUNT_NUDGE)
        if allowed == 0:
            refused[target] = (
                f"FMR {target:g} cannot be seen in {nonmated.size:,} non-mated scores; "
                f"give at least {least_pairs(target):,}"
            )
            continue
        highest_refused = nonmated[-allowed - 1]
        false = nonmated.size - np.searchsorted(nonmated, highest_refused, side="right")
        missed = np.searchsorted(mated, highest_refused, side="right")
        points[target] = OperatingPoint(
            threshold=float(np.nextafter(highest_refused, highest_refused.dtype.type(np.inf))),
            fmr=float(false / nonmated.size),
            fnmr=float(missed / mated.size),
            mated_pairs=mated.size,
            nonmated_pairs=nonmated.size,
        )
    return points, refused


def roc_tar(
    mated: ArrayLike, nonmated: ArrayLike, targets: Sequence[float] = IJB_TARGETS
) -> dict[float, tuple[float, float]]:
    """Return target FAR to (TAR, FAR) of the ROC point nearest to it, as IJB tables print it.

    Args:
        mated: Scores; float64 agrees with the public code in every digit.
        nonmated: The same of different-person pairs.
        targets: FAR targets.

    Example:
        >>> roc_tar([0.9, 0.3], [0.6, 0.4, 0.2, 0.1], [0.2])
        {0.2: (0.5, 0.0)}
    """
    mated, nonmated = np.sort(_check("mated", mated)), np.sort(_check("nonmated", nonmated))
    return {target: _nearest_point(mated, nonmated, target) for target in targets}


def judge_many_pairs(
    scores: Scores,
    is_mated: ArrayLike,
    *,
    first_identity: Codes,
    second_identity: Codes,
    fmr_targets: Sequence[float] = IJB_TARGETS,
    seed: int = 0,
    resamples: int = 1000,
    failure_to_acquire: float = 0.0,
) -> PairRecord:
    """Measure FNMR at each FMR target of millions of pairs, with 95 % intervals over identities.

    The record is that of `judge_pairs`, with the FNMRs as its metrics.

    Args:
        scores: Higher is more alike; -inf for a failed pair; shape (pairs,).
        is_mated: True for same-person pairs, shape (pairs,).
        first_identity: Person code from 0 of each pair's first side, shape (pairs,).
        second_identity: Of the second side, from the same codes.
        fmr_targets: FMR targets, fractions in (0, 1).
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap; 0 leaves the intervals at the value itself.
        failure_to_acquire: Share of pictures that gave no face.

    Raises:
        ValueError: If shapes differ, a score is NaN, or is_mated contradicts the identities.
        UndefinedRateError: If there is no mated or no non-mated pair.
    """
    flags = check_flags("is_mated", is_mated, len(scores))
    scores = _check("scores", scores)
    _check_people(flags, first_identity, second_identity)
    people, first, second = _people_of_pairs(first_identity, second_identity)
    mated, nonmated = scores[flags], scores[~flags]
    points, refused = fnmr_at_fmrs(mated, nonmated, fmr_targets)
    many = ManyPairs(
        mated,
        nonmated,
        mated_identity=first[flags],
        first=first[~flags],
        second=second[~flags],
    )
    drawn: dict[str, NDArray[np.float64]] = {}
    if points and resamples:
        draws = many.fnmr(many.draws(seed=seed, resamples=resamples), list(points))
        drawn = {fnmr_name(target): row for target, row in zip(points, draws, strict=True)}
    return PairRecord(
        metrics={
            fnmr_name(target): _interval(point.fnmr, drawn.get(fnmr_name(target)), people)
            for target, point in points.items()
        },
        refused={fnmr_name(target): reason for target, reason in refused.items()},
        cautions=_cautions(points),
        fold_std=None,
        failure_to_acquire=failure_to_acquire,
        pairs={
            "mated": mated.size,
            "nonmated": nonmated.size,
            "failed_mated": int(np.isneginf(mated).sum()),
            "failed_nonmated": int(np.isneginf(nonmated).sum()),
        },
        identities=people,
        run_values={fnmr_name(target): (point.fnmr,) for target, point in points.items()},
        seed=seed,
        resamples=resamples,
        drawn=drawn,
        protocol=_digest(flags, first, second, seed, resamples),
    )


def _check(name: str, values: ArrayLike) -> Scores:
    scores = np.asarray(values)
    if scores.dtype.kind != "f":
        scores = scores.astype(np.float64)
    if scores.ndim != 1:
        raise ValueError(f"{name} must hold one score per pair, shape (n,), got {scores.shape}")
    if scores.size == 0:
        raise UndefinedRateError(f"{name} must hold at least one score, got none")
    # NaN spreads through the maximum, and +inf is its own.
    if not scores.max() < np.inf:
        broken = int(np.sum(np.isnan(scores) | (scores == np.inf)))
        raise ValueError(f"{name} holds {broken:,} NaN or infinite scores of {scores.size:,}")
    return scores


def _check_people(flags: NDArray[np.bool_], first: Codes, second: Codes) -> None:
    wrong = np.flatnonzero((first == second) != flags)
    if wrong.size:
        pair = wrong[0]
        raise ValueError(
            f"is_mated must say whether both identities are one, got {bool(flags[pair])} for "
            f"{first[pair]} and {second[pair]} in pair {pair} ({wrong.size:,} such pairs)"
        )


def _people_of_pairs(first: Codes, second: Codes) -> tuple[int, Codes, Codes]:
    """Return how many people stand in a pair, and both sides in codes of these alone."""
    size = int(max(first.max(), second.max())) + 1
    seen = np.bincount(first, minlength=size) + np.bincount(second, minlength=size) > 0
    code = np.cumsum(seen) - 1
    return int(seen.sum()), code[first], code[second]


def _interval(value: float, drawn: NDArray[np.float64] | None, identities: int) -> Interval:
    if drawn is None:
        return Interval(value=value, low=value, high=value)
    low, high = percentile_ends(drawn)
    if low == high == value and value in (0.0, 1.0):
        unseen = unseen_rate(identities)
        low, high = (0.0, unseen) if value == 0 else (1 - unseen, 1.0)
    return Interval(value=value, low=low, high=high)


def _cautions(points: dict[float, OperatingPoint]) -> dict[str, str]:
    cautions = {}
    for target, point in points.items():
        allowed = math.floor(target * point.nonmated_pairs + COUNT_NUDGE)
        if allowed < RULE_OF_30:
            needed = least_pairs(target, errors=RULE_OF_30)
            cautions[fnmr_name(target)] = (
                f"the threshold rests on {allowed} false matches of {point.nonmated_pairs:,} "
                f"non-mated pairs; the rule of 30 asks for {needed:,} pairs"
            )
    return cautions


def _digest(
    flags: NDArray[np.bool_], first: Codes, second: Codes, seed: int, resamples: int
) -> str:
    digest = hashlib.sha256(f"{seed} {resamples} many".encode())
    for part in (flags, first, second):
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _nearest_point(mated: Scores, nonmated: Scores, target: float) -> tuple[float, float]:
    """Return (TAR, FAR) of the kept curve point nearest to the target; scores ascend."""
    reach = WINDOW
    while True:
        rank = int(target * nonmated.size)
        is_whole = reach > max(rank, nonmated.size - rank)
        false, true = _curve_around(mated, nonmated, rank, reach)
        if false.size:
            fpr = false / nonmated.size
            distance = np.abs(fpr - target)
            nearest = int(np.flatnonzero(distance == distance.min())[-1])
            # A point at the rim of the window may have a nearer neighbour outside.
            if is_whole or 0 < nearest < fpr.size - 1:
                return float(true[nearest] / mated.size), float(fpr[nearest])
        reach *= 8


def _curve_around(mated: Scores, nonmated: Scores, rank: int, reach: int) -> tuple[Codes, Codes]:
    """Return false and true accepts at the kept curve points around a rank of the non-mated."""
    has_top, has_bottom = rank - reach >= 0, rank + reach < nonmated.size
    highest = nonmated[-1 - (rank - reach)] if has_top else np.inf
    lowest = nonmated[-1 - (rank + reach)] if has_bottom else -np.inf
    near = [
        scores[np.searchsorted(scores, lowest) : np.searchsorted(scores, highest, side="right")]
        for scores in (nonmated, mated)
    ]
    distinct = np.unique(np.concatenate(near))[::-1]
    false, true = (s.size - np.searchsorted(s, distinct) for s in (nonmated, mated))
    return _kept_points(false, true, starts_at_zero=not has_top, is_last=not has_bottom)


def _kept_points(
    false: Codes, true: Codes, *, starts_at_zero: bool, is_last: bool
) -> tuple[Codes, Codes]:
    """Leave out points on straight stretches, and those at a rim that cannot be judged."""
    kept = np.ones(false.size, dtype=np.bool_)
    if false.size > 2:
        kept[1:-1] = (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0)
    kept[0] &= starts_at_zero
    kept[-1] &= is_last
    false, true = false[kept], true[kept]
    if starts_at_zero:
        false, true = np.append(0, false), np.append(0, true)
    return false, true
