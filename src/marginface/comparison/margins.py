"""What a loss asks of the own class, drawn against the angle."""

import math

import torch

from marginface.losses import Elastic, make_loss
from marginface.losses.base import OwnClass
from marginface.training import LossConfig

# The norm at which norm-dependent margins are drawn: in the middle of the range that AdaFace's
# statistics start from and MagFace's bounds allow.
DRAWN_NORM = 20.0
# Random margins are shown at their mean, and this many standard deviations around it.
SPREAD = 2


def margin_curve(config: LossConfig, *, points: int = 181) -> dict[str, list[float]]:
    """Return the own class's term over the scale against the angle, random margins at their mean.

    Args:
        config: A loss and its options.
        points: Number of angles, from 0 to π.

    Returns:
        `angle_rad` and `target`, each of length `points`; of random margins also `target_low` and
        `target_high`, the targets of margins two standard deviations above and below the mean.
    """
    loss = make_loss(config.name, **config.options).eval()
    angle_rad = torch.linspace(0, math.pi, points, dtype=torch.float64)
    cosine = angle_rad.cos()
    norms = torch.full_like(cosine, DRAWN_NORM)
    with torch.no_grad():
        own = OwnClass(cosine, norms, loss.observe(cosine, norms))
        scale = float(getattr(loss, "scale", 1.0))
        curves = {"target": loss.own_curve(own)}
        if isinstance(loss, Elastic):
            mean, std = loss.mean_and_std
            for end, margin in (("low", mean + SPREAD * std), ("high", mean - SPREAD * std)):
                margins = torch.full_like(cosine, margin)
                curves[f"target_{end}"] = loss.with_margins(cosine, margins)
    named = {name: (curve / scale).tolist() for name, curve in curves.items()}
    return {"angle_rad": angle_rad.tolist(), **named}
