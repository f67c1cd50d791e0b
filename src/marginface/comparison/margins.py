"""What a loss asks of the own class, drawn against the angle."""

import math

import torch

from marginface.losses import make_loss
from marginface.losses.base import OwnClass
from marginface.training import LossConfig

# The norm at which norm-dependent margins are drawn: in the middle of the range that AdaFace's
# statistics start from and MagFace's bounds allow.
DRAWN_NORM = 20.0


def margin_curve(config: LossConfig, *, points: int = 181) -> dict[str, list[float]]:
    """Return the own class's term over the scale against the angle, random margins at their mean.

    Args:
        config: A loss and its options.
        points: Number of angles, from 0 to π.

    Returns:
        `angle_rad` and `target`, both of length `points`.
    """
    loss = make_loss(config.name, **config.options).eval()
    angle_rad = torch.linspace(0, math.pi, points, dtype=torch.float64)
    cosine = angle_rad.cos()
    norms = torch.full_like(cosine, DRAWN_NORM)
    with torch.no_grad():
        own = OwnClass(cosine, norms, loss.observe(cosine, norms))
        target = loss.own_curve(own) / float(getattr(loss, "scale", 1.0))
    return {"angle_rad": angle_rad.tolist(), "target": target.tolist()}
