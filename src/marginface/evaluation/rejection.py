"""Error versus reject: what is gained by refusing the pictures of lowest quality.

    quality of a pair  = the lower quality of its two pictures
    E(s)               = error rate among the pairs kept when the share s of lowest quality has gone
    random             = E(0) at every s: the expected value of refusing pairs blindly
    oracle             = max(0, e - k) / (n - k) when k of n pairs have gone: the e errors first
    area               = mean of E(s) over s from 0 to 0.95

E is FNMR over the mated pairs, or FMR over the non-mated ones, at one threshold fixed on all pairs
at an FMR target and not moved afterwards. Dropping every picture below a quality drops exactly the
pairs below it. Equal qualities go together, all or none: at share s so many whole groups have gone
as fit into s, so E is a step function and a quality that never differs equals random. Pairs of a
failed picture have no quality; they are left out and counted.

In every resample of the bootstrap the people are drawn, the threshold is fixed again and the whole
curve measured again; the interval of the area minus random is taken within the draws.

Source: Grother and Tabassi, "Performance of biometric quality measures", TPAMI 2007 (error versus
    reject); ISO/IEC 29794-1:2024 (error versus discard characteristic).
Differs: exact step function instead of a grid; identity bootstrap.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import UndefinedRateError
from marginface.evaluation.bootstrap import IdentityBootstrap, percentile_ends, unseen_rate
from marginface.evaluation.judge import check_people
from marginface.evaluation.records import Interval, PairedDifference
from marginface.evaluation.reject_curves import (
    MAX_SHARE,
    RejectCurve,
    check_quality,
    oracle_curve,
    reject_curve,
)
from marginface.evaluation.scores import check_flags, split_scores, with_failures
from marginface.evaluation.thresholds import WeightedRefusal
from marginface.evaluation.verification import RULE_OF_30, fnmr_at_fmr

# Of the record; the curve itself is exact everywhere.
RECORDED_SHARES = np.arange(20) / 20

Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionPart:
    """One error rate against the share refused.

    Attributes:
        curve: Exact.
        oracle: The best any order could give.
        random: The constant of refusing blindly, which is the rate of all pairs.
        area: Mean rate over the shares from 0 to 0.95.
        area_oracle: The same of the oracle.
        difference: Area minus random; below zero where quality helps.
        errors, pairs: Among all pairs of this kind that have a score.
        caution: What limits the numbers; empty where nothing does.
    """

    curve: RejectCurve
    oracle: RejectCurve
    random: float
    area: Interval
    area_oracle: float
    difference: PairedDifference
    errors: int
    pairs: int
    caution: str

    @property
    def gained(self) -> float | None:
        """How much of what the oracle gains over random is gained; None without an error."""
        possible = self.random - self.area_oracle
        return (self.random - self.area.value) / possible if possible > 0 else None

    def as_dict(self) -> dict[str, Any]:
        """Return the part in plain types, the curves at `RECORDED_SHARES`."""
        return {
            "shares": RECORDED_SHARES.tolist(),
            "rates": self.curve.at(RECORDED_SHARES).tolist(),
            "oracle": self.oracle.at(RECORDED_SHARES).tolist(),
            "random": self.random,
            "area": self.area.as_dict(),
            "area_oracle": self.area_oracle,
            "difference_to_random": self.difference.as_dict(),
            "gained": self.gained,
            "errors": self.errors,
            "pairs": self.pairs,
            "caution": self.caution,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionRecord:
    """Error versus reject at one threshold.

    Attributes:
        target_fmr: Where the threshold was fixed, on all pairs that have a score.
        threshold: Its value.
        fnmr: Over the mated pairs.
        fmr: Over the non-mated pairs.
        failed_pairs: Pairs of a failed picture, left out.
    """

    target_fmr: float
    threshold: float
    fnmr: RejectionPart
    fmr: RejectionPart
    failed_pairs: int

    def as_dict(self) -> dict[str, Any]:
        """Return the record in plain types, ready for JSON."""
        return {
            "target_fmr": self.target_fmr,
            "threshold": self.threshold,
            "max_share": MAX_SHARE,
            "ties": "equal qualities are refused together",
            "failed_pairs_left_out": self.failed_pairs,
            "fnmr": self.fnmr.as_dict(),
            "fmr": self.fmr.as_dict(),
        }


def error_versus_reject(
    scores: ArrayLike,
    is_mated: ArrayLike,
    quality: ArrayLike,
    *,
    first_identity: ArrayLike,
    second_identity: ArrayLike,
    target_fmr: float = 0.01,
    seed: int = 0,
    resamples: int = 1000,
    failed: ArrayLike | None = None,
) -> RejectionRecord:
    """Measure both error rates as the pairs of lowest quality are refused, with 95 % intervals.

    Args:
        scores: Higher is more alike, shape (pairs,).
        is_mated: True for same-person pairs, shape (pairs,).
        quality: Lower quality of the pair's two pictures, shape (pairs,); ignored of failed pairs.
        first_identity: The person on each first picture, any names or numbers.
        second_identity: The person on each second picture.
        target_fmr: Where the threshold is fixed, a fraction in (0, 1).
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap.
        failed: True where a picture of the pair gave no face, shape (pairs,).

    Raises:
        ValueError: If shapes differ, or a score or quality of a pair that did not fail is NaN.
        UndefinedRateError: If the pairs with a score are of one kind, or too few for the target.
    """
    runs = with_failures("scores", scores, failed)
    if len(runs) != 1:
        raise ValueError(f"scores must have shape (pairs,), got {len(runs)} runs; give one a call")
    has_score = np.isfinite(runs[0])
    flags = check_flags("is_mated", is_mated, runs.shape[1])
    people = check_people(flags, first_identity, second_identity)
    worth = np.asarray(quality, dtype=np.float64)
    if worth.shape != flags.shape:
        raise ValueError(f"quality must have shape {flags.shape}, got {worth.shape}")
    if not has_score.any():
        raise UndefinedRateError(
            f"error versus reject needs pairs with a score, got {flags.size:,} failed pairs"
        )
    found, flags = runs[0][has_score], flags[has_score]
    worth = check_quality(worth[has_score])
    mated, nonmated = split_scores(found, flags)
    point = fnmr_at_fmr(mated, nonmated, target_fmr=target_fmr)
    codes = np.unique(np.concatenate([one[has_score] for one in people]), return_inverse=True)[1]
    bootstrap = IdentityBootstrap(*np.split(codes, 2), seed=seed, resamples=resamples)
    drawn = _draw(found, flags, worth, bootstrap, target_fmr)
    parts = {
        name: _part(is_error, worth[kind], drawn[name], bootstrap.identities)
        for name, kind, is_error in (
            ("fnmr", flags, mated < point.threshold),
            ("fmr", ~flags, nonmated >= point.threshold),
        )
    }
    return RejectionRecord(
        target_fmr=target_fmr,
        threshold=point.threshold,
        fnmr=parts["fnmr"],
        fmr=parts["fmr"],
        failed_pairs=int((~has_score).sum()),
    )


def _part(is_error: Flags, quality: Scores, drawn: Scores, identities: int) -> RejectionPart:
    """Put one rate together; `drawn` holds area and random of each resample, shape (n, 2)."""
    curve = reject_curve(is_error, quality)
    errors, pairs = int(is_error.sum()), is_error.size
    oracle, area = oracle_curve(errors, pairs), curve.area()
    low, high = percentile_ends(drawn[:, 0])
    if low == high == area == 0:
        high = unseen_rate(identities)
    ends = percentile_ends(drawn[:, 0] - drawn[:, 1])
    caution = f"rests on {errors} errors of {pairs:,} pairs; the rule of 30 asks for 30"
    return RejectionPart(
        curve=curve,
        oracle=oracle,
        random=errors / pairs,
        area=Interval(value=area, low=low, high=high),
        area_oracle=oracle.area(),
        difference=PairedDifference(value=area - errors / pairs, low=ends[0], high=ends[1]),
        errors=errors,
        pairs=pairs,
        caution=caution if errors < RULE_OF_30 else "",
    )


def _draw(
    scores: Scores, flags: Flags, quality: Scores, bootstrap: IdentityBootstrap, target_fmr: float
) -> dict[str, Scores]:
    """Return area and random of both rates in each resample, shape (resamples, 2)."""
    refusal = WeightedRefusal(scores[~flags], target_fmr)
    orders = [np.flatnonzero(kind)[np.argsort(quality[kind])] for kind in (flags, ~flags)]
    ends = [np.flatnonzero(np.append(np.diff(quality[order]) > 0, True)) for order in orders]
    drawn: dict[str, list[Scores]] = {"fnmr": [], "fmr": []}
    for weights in bootstrap.blocks():
        refused = refusal.measure(weights[:, ~flags])[:, None]
        for name, order, last in zip(drawn, orders, ends, strict=True):
            is_match = scores[order] > refused
            is_error = is_match if name == "fmr" else ~is_match
            drawn[name].append(_weighted_areas(weights[:, order], is_error, last))
    return {name: np.concatenate(blocks) for name, blocks in drawn.items()}


def _weighted_areas(weights: Scores, is_error: Flags, last: NDArray[np.int64]) -> Scores:
    """Return area and rate of all pairs, shape (weightings, 2); pairs in order of quality.

    Args:
        weights: Shape (weightings, pairs), whole numbers.
        is_error: The same shape.
        last: Position of the last pair of each group of equal quality.
    """
    gone = np.cumsum(weights, axis=1)[:, last]
    gone_errors = np.cumsum(weights * is_error, axis=1)[:, last]
    start = np.zeros((len(weights), 1))
    kept = gone[:, -1:] - np.concatenate([start, gone[:, :-1]], axis=1)
    errors = gone_errors[:, -1:] - np.concatenate([start, gone_errors[:, :-1]], axis=1)
    # A group nobody of whom is drawn has no width, so its rate does not count.
    rates = errors / np.maximum(kept, 1)
    shares = np.concatenate([start, gone / gone[:, -1:]], axis=1).clip(max=MAX_SHARE)
    areas = (rates * np.diff(shares, axis=1)).sum(axis=1) / MAX_SHARE
    return np.stack([areas, rates[:, 0]], axis=1)
