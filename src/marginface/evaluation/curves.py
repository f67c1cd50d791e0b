"""What is drawn rather than printed: the DET curve, the score histogram, and the worst errors.

    DET: FNMR(t) against FMR(t) over all thresholds t; ROC is the same curve with 1 - FNMR.

Source: Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.
Differs: the curve holds its exact points; scales (log, probit) belong to the report room.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.evaluation.scores import check_flags, check_scores
from marginface.evaluation.verification import sweep


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


def thin(curve: DetCurve, *, points: int = 300) -> DetCurve:
    """Return at most `points` of the curve's own points, evenly spread along the drawn line.

    Spread is measured on a logarithmic FMR axis and a linear FNMR axis; both ends stay. No point is
    invented.

    Args:
        curve: The exact curve.
        points: The most points to keep, at least 2.
    """
    if points < 2:
        raise ValueError(f"points must be at least 2, got {points}")
    if curve.fmr.size <= points:
        return curve
    seen = curve.fmr[curve.fmr > 0]
    floor = seen.min() / 2 if seen.size else 1.0
    across = np.log10(np.maximum(curve.fmr, floor))
    across /= max(float(np.ptp(across)), 1e-12)
    steps = np.hypot(np.diff(across), np.diff(curve.fnmr))
    walked = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0, walked[-1], points)
    kept = np.unique(np.searchsorted(walked, wanted).clip(0, walked.size - 1))
    kept[-1] = walked.size - 1
    return DetCurve(thresholds=curve.thresholds[kept], fmr=curve.fmr[kept], fnmr=curve.fnmr[kept])


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
    seen = np.isfinite(scores)
    edges = np.histogram_bin_edges(scores[seen], bins=bins)
    counts = {"edges": edges.tolist()}
    for name, kind in (("mated", is_mated), ("nonmated", ~is_mated)):
        counts[name] = np.histogram(scores[seen & kind], edges)[0].astype(np.float64).tolist()
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

    Args:
        scores: Of the pairs, -inf where a face was not acquired.
        is_mated: Whether both pictures show one person.
    """
    found = np.asarray(scores, dtype=np.float64)
    mated = np.asarray(is_mated, dtype=bool)
    curve = thin(det_curve(found[mated], found[~mated]))
    return {"curve": curve.as_dict(), "histogram": score_histogram(found, mated)}
