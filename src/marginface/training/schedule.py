"""The learning rate over time, as a pure function of the optimiser's step.

    r(k) = (k + 1) / (w + 1)                                   while k < w      (warm-up)
    t    = (k - w) / max(1, n - w)                             from k = w on, 0 <= t < 1
    polynomial:  r = f + (1 - f)·(1 - t)^p
    cosine:      r = f + (1 - f)·(1 + cos πt) / 2
    step:        r = γ^(number of milestones m with k >= round(m·n))
    constant:    r = 1

k counts optimiser steps from 0, however many micro-batches each of them takes; n is the length of
the run, w `warmup_steps`, f `final_ratio`, p `power`, γ `gamma`.
"""

import math

from marginface.training.config_parts import ScheduleConfig


def rate_at(step: int, *, total: int, schedule: ScheduleConfig) -> float:
    """Return what the learning rate is multiplied by at one step.

    Args:
        step: Steps already taken, in [0, total).
        total: Length of the run in optimiser steps.
        schedule: The shape.

    Example:
        >>> line = ScheduleConfig(kind="polynomial", warmup_steps=1)
        >>> [rate_at(step, total=5, schedule=line) for step in range(5)]
        [0.5, 1.0, 0.75, 0.5, 0.25]
    """
    if not 0 <= step < total:
        raise ValueError(f"step must lie in [0, {total}), got {step}")
    warmup = schedule.warmup_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule.kind == "constant":
        return 1.0
    if schedule.kind == "step":
        passed = sum(step >= round(share * total) for share in schedule.milestones)
        return schedule.gamma**passed
    done = (step - warmup) / max(1, total - warmup)
    if schedule.kind == "polynomial":
        falling = (1 - done) ** schedule.power
    else:
        falling = (1 + math.cos(math.pi * done)) / 2
    return schedule.final_ratio + (1 - schedule.final_ratio) * falling
