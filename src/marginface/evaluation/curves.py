"""What is drawn rather than printed: the DET curve, the score histogram, and the worst errors.

    DET: FNMR(t) against FMR(t) over all thresholds t; ROC is the same curve with 1 - FNMR.

Source: Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.
Differs: the curve holds its exact points; scales (log, probit) belong to the report room.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import UndefinedRateError
from marginface.evaluation.scores import FAILED, check_flags, check_scores
from marginface.evaluation.verification import sweep

# Scores looked at together: 8 MiB of float64.
BLOCK = 1 << 20

Scores = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetCurve:
    """Both error rates at every distinct threshold, from strict (+inf) to lax."""

    thresholds: NDArray[np.float64]
    fmr: NDArray[np.float64]
    fnmr: NDArray[np.float64]

    def as_dict(self) -> dict[str, list[float]]:
        """Return the two rates as lists, ready for JSON."""
        return {"fmr": self.fmr.tolist(), "fnmr": self.fnmr.tolist()}


def det_curve(mated: ArrayLike, nonmated: ArrayLike) -> DetCurve:
    """Return the exact detection error trade-off, one point per distinct score.

    Example:
        >>> curve = det_curve([0.9, 0.4], [0.4, 0.1])
        >>> list(zip(curve.fmr.tolist(), curve.fnmr.tolist()))
        [(0.0, 1.0), (0.0, 0.5), (0.5, 0.0), (1.0, 0.0)]
    """
    counts = sweep(mated, nonmated)
    return DetCurve(
        thresholds=counts.thresholds,
        fmr=counts.false_matches / counts.nonmated_pairs,
        fnmr=counts.false_nonmatches / counts.mated_pairs,
    )


def outline(mated: ArrayLike, nonmated: ArrayLike) -> DetCurve:
    """Return the curve's ends and the points at which FNMR falls: drawn as steps, the same line.

    Between two of them only false matches are added, which a step draws by itself. So there are
    never more points than mated pairs and two, and non-mated scores are counted a block at a time.

    Args:
        mated: Scores of same-person pairs, -inf for failed ones, shape (mated_pairs,).
        nonmated: The same of different-person pairs.

    Raises:
        ValueError: If a score is NaN or +inf.
        UndefinedRateError: If there is no mated or no non-mated pair.

    Example:
        >>> line = outline([0.9, 0.4], [0.8, 0.7, 0.4, 0.1])
        >>> list(zip(line.fmr.tolist(), line.fnmr.tolist()))
        [(0.0, 1.0), (0.0, 0.5), (0.75, 0.0), (1.0, 0.0)]
    """
    mated = np.sort(check_scores("mated", mated))
    others = np.asarray(nonmated)
    lows = [part[part > FAILED].min(initial=np.inf) for part in _blocks(others)]
    if not lows:
        raise UndefinedRateError("nonmated must hold at least one score, got none")
    lowest = min(lows)
    falls = np.unique(mated[mated > FAILED])
    ends = [lowest] if lowest < falls.min(initial=np.inf) else []
    thresholds = np.concatenate([ends, falls, [np.inf]])[::-1]
    false_matches = np.zeros(thresholds.size, dtype=np.int64)
    for part in _blocks(others):
        false_matches += part.size - np.searchsorted(np.sort(part), thresholds)
    return DetCurve(
        thresholds=thresholds,
        fmr=false_matches / others.size,
        fnmr=np.searchsorted(mated, thresholds) / mated.size,
    )


def thin(curve: DetCurve, *, points: int = 300) -> DetCurve:
    """Return at most `points` of the curve's own points, evenly spread along the drawn line.

    The way along the line is that of both rates on logarithmic axes, and of FNMR on a linear one
    besides, as pages draw it. A dropped point lies less than one (points - 1)th of the whole way
    behind the kept one before it. Both ends stay; no point is invented.

    Args:
        curve: The exact curve, or its outline.
        points: The most points to keep, at least 2.
    """
    if points < 2:
        raise ValueError(f"points must be at least 2, got {points}")
    if curve.fmr.size <= points:
        return curve
    walked = way_along(curve)
    wanted = np.linspace(0, walked[-1], points)
    kept = np.unique(np.searchsorted(walked, wanted).clip(0, walked.size - 1))
    kept[-1] = walked.size - 1
    return DetCurve(thresholds=curve.thresholds[kept], fmr=curve.fmr[kept], fnmr=curve.fnmr[kept])


def way_along(curve: DetCurve) -> NDArray[np.float64]:
    """Return how far each point lies along the line, from 0; each axis is one long."""
    steps = np.zeros(curve.fmr.size - 1)
    for rate, is_drawn_straight in ((curve.fmr, False), (curve.fnmr, True)):
        seen = rate[rate > 0]
        places = [np.log10(np.maximum(rate, seen.min(initial=1.0) / 2))]
        places += [rate] if is_drawn_straight else []
        for place in places:
            steps += np.abs(np.diff(place)) / max(float(np.ptp(place)), 1e-12)
    return np.concatenate([[0.0], np.cumsum(steps)])


def score_histogram(
    scores: ArrayLike, is_mated: ArrayLike, *, bins: int = 60
) -> dict[str, list[float]]:
    """Count the scores of both kinds in equal bins: {"edges", "mated", "nonmated"}, for JSON.

    Failed pairs have no score and are not in it.

    Example:
        >>> score_histogram([0.0, 1.0, 1.0], [0, 1, 1], bins=2)["mated"]
        [0.0, 2.0]
    """
    scores = check_scores("scores", scores)
    is_mated = check_flags("is_mated", is_mated, scores.size)
    return _histogram(scores[is_mated], scores[~is_mated], bins=bins)


def _histogram(mated: Scores, nonmated: Scores, *, bins: int = 60) -> dict[str, list[float]]:
    kinds = {"mated": mated, "nonmated": nonmated}
    ends = [
        (float(seen.min()), float(seen.max()))
        for kind in kinds.values()
        for part in _blocks(kind)
        if (seen := part[part > FAILED]).size
    ]
    low, high = (
        min((low for low, _ in ends), default=0.0),
        max((high for _, high in ends), default=1.0),
    )
    edges = np.histogram_bin_edges(np.empty(0), bins=bins, range=(low, high))
    counts = {"edges": edges.tolist()}
    for name, kind in kinds.items():
        total = np.zeros(bins)
        for part in _blocks(kind):
            total += np.histogram(part[part > FAILED], bins=bins, range=(low, high))[0]
        counts[name] = total.tolist()
    return counts


def worst_errors(scores: ArrayLike, is_mated: ArrayLike, *, count: int = 8) -> NDArray[np.int64]:
    """Return the pairs decided worst: the least alike mated, then the most alike non-mated.

    Each kind gives up to half of `count`, worst first; equal scores keep the order of the pairs.
    Failed pairs are left out: there is nothing to see in them.

    Example:
        >>> worst_errors([0.9, 0.1, 0.8, 0.2], [1, 1, 0, 0], count=2).tolist()
        [1, 2]
    """
    scores = check_scores("scores", scores)
    is_mated = check_flags("is_mated", is_mated, scores.size)
    order = np.argsort(scores, kind="stable")
    order = order[np.isfinite(scores[order])]
    lowest_mated = order[is_mated[order]][: count // 2]
    descending = np.argsort(-scores, kind="stable")
    highest_nonmated = descending[~is_mated[descending]]
    highest_nonmated = highest_nonmated[np.isfinite(scores[highest_nonmated])][: count // 2]
    return np.concatenate([lowest_mated, highest_nonmated])


def drawn_scores(scores: ArrayLike, is_mated: ArrayLike) -> dict[str, Any]:
    """Return what a page draws of scored pairs: `curve`, thinned, and `histogram`, for JSON.

    Millions of pairs are walked in blocks; beyond the scores of either kind nothing is copied.

    Args:
        scores: Of the pairs, -inf where a face was not acquired.
        is_mated: Whether both pictures show one person.
    """
    found, flags = np.asarray(scores), np.asarray(is_mated, dtype=bool)
    mated, nonmated = found[flags], found[~flags]
    curve = thin(outline(mated, nonmated))
    return {"curve": curve.as_dict(), "histogram": _histogram(mated, nonmated)}


def _blocks(scores: Scores) -> Iterator[NDArray[np.float64]]:
    for start in range(0, scores.size, BLOCK):
        yield check_scores("scores", scores[start : start + BLOCK])
