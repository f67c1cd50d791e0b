"""What a judgement is asked for: checked once, before the expensive part of whoever asks."""

from collections.abc import Sequence


def check_settings(
    *,
    fmr_targets: Sequence[float] = (),
    at_fmr: float | None = None,
    resamples: int = 1,
    seed: int = 0,
) -> None:
    """Check the numbers a judgement is asked for.

    Args:
        fmr_targets: FMR targets, fractions in (0, 1).
        at_fmr: Where a common threshold is fixed, a fraction in (0, 1); None for nowhere.
        resamples: Draws of the bootstrap, at least 1.
        seed: Seed of the bootstrap, at least 0.

    Raises:
        ValueError: If one is out of its range.
    """
    for target in fmr_targets:
        check_fmr("fmr_targets", target)
    if at_fmr is not None:
        check_fmr("at_fmr", at_fmr)
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")


def check_fmr(name: str, fmr: float) -> None:
    """Check a false match rate that a threshold is fixed at.

    Raises:
        ValueError: If it is no fraction in (0, 1).
    """
    if not 0 < fmr < 1:
        raise ValueError(f"{name} must be a fraction in (0, 1), got {fmr}")
