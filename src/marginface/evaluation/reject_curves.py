"""The curves of error versus reject: exact step functions of the share that was refused.

    E(s)   = error rate among the pairs kept when the share s of lowest quality has gone
    oracle = max(0, e - k) / (n - k) when k of n pairs have gone: the e errors first

Equal qualities go together, all or none: at share s so many whole groups have gone as fit into s.

Source: see `rejection`.
Differs: nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.evaluation.scores import check_flags

# Beyond it a handful of pairs would decide.
MAX_SHARE = 0.95

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectCurve:
    """The exact step function: from `shares[i]` on, the kept pairs err at `rates[i]`."""

    shares: Scores
    rates: Scores

    def at(self, shares: ArrayLike) -> Scores:
        """Return the error rate when at most these shares are refused, same shape."""
        # Shares are quotients of counts; 0.3 of 10 pairs must hold 3.
        asked = np.asarray(shares, dtype=np.float64) + 1e-12
        return self.rates[np.searchsorted(self.shares, asked, side="right") - 1]

    def area(self, *, max_share: float = MAX_SHARE) -> float:
        """Return the mean error rate over the shares from 0 to `max_share`."""
        ends = np.append(self.shares, 1.0).clip(max=max_share)
        return float((self.rates * np.diff(ends)).sum() / max_share)


def reject_curve(is_error: ArrayLike, quality: ArrayLike) -> RejectCurve:
    """Return the error rate of the pairs kept, as those of lowest quality are refused.

    Args:
        is_error: Whether each pair is decided wrongly, shape (pairs,).
        quality: Of each pair, higher is better, shape (pairs,); equal ones go together.

    Example:
        >>> curve = reject_curve([1, 0, 0, 1], [0.1, 0.2, 0.2, 0.9])
        >>> curve.shares.tolist(), curve.rates.round(3).tolist()
        ([0.0, 0.25, 0.75], [0.5, 0.333, 1.0])
    """
    quality = check_quality(quality)
    is_error = check_flags("is_error", is_error, quality.size)
    groups = np.unique(quality, return_inverse=True)[1]
    gone = np.bincount(groups).cumsum()[:-1]
    gone_errors = np.bincount(groups, weights=is_error).cumsum()[:-1]
    kept = quality.size - np.concatenate([[0], gone])
    kept_errors = is_error.sum() - np.concatenate([[0], gone_errors])
    return RejectCurve(shares=1 - kept / quality.size, rates=kept_errors / kept)


def oracle_curve(errors: int, pairs: int) -> RejectCurve:
    """Return the best curve any order can give: the errors go first, one by one.

    Example:
        >>> oracle_curve(1, 4).rates.tolist()
        [0.25, 0.0, 0.0, 0.0]
    """
    gone = np.arange(pairs)
    return RejectCurve(
        shares=gone / pairs, rates=np.maximum(errors - gone, 0).astype(np.float64) / (pairs - gone)
    )


def check_quality(values: ArrayLike) -> Scores:
    """Return qualities as float64 of shape (n,), or say what is wrong with them."""
    quality = np.asarray(values, dtype=np.float64)
    if quality.ndim != 1 or quality.size == 0:
        raise ValueError(f"quality must have shape (n,) with n at least 1, got {quality.shape}")
    if broken := int((~np.isfinite(quality)).sum()):
        raise ValueError(f"quality holds {broken:,} NaN or infinite values of {quality.size:,}")
    return quality
