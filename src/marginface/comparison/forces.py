"""How hard a loss pulls a face to its own class and pushes it from another, by the angle.

    pull(θ_y) = (∂L/∂θ_y) / s, all others 90° away     push(θ_j) = -(∂L/∂θ_j) / s, the rest held

with L the loss of one row and s the scale: 1 is what s·cos θ has at 90°, and below 0 a face is sent
the wrong way. A margin moves the angle where the pull ends, and a softmax pushes only strangers
that come near the own class's logit. Both are what training feels, the gradient; for SFace that is
not the slope of the value.
"""

import math

import torch

from marginface.axes import Float, Tensor
from marginface.comparison.margins import DRAWN_NORM, SPREAD
from marginface.losses import Elastic, make_loss
from marginface.losses.base import Loss, OwnClass
from marginface.training import LossConfig

# So many that strangers at 90° count; and the angle of a face whose training is half done.
CLASSES = 10_000
OWN_RAD = math.radians(45)


def force_curves(
    config: LossConfig, *, classes: int = CLASSES, own_rad: float = OWN_RAD, points: int = 180
) -> dict[str, list[float]]:
    """Return pull and push of a loss against the angle.

    Args:
        config: A loss and its options; terms that join rows, as LH2Face's, are left out.
        classes: Number of classes, at least 3; all but those that are moved lie at 90°.
        own_rad: Angle with the own class while a stranger is moved, in radians.
        points: Number of angles between 0 and π, without the two ends, where nothing turns.

    Returns:
        `angle_rad`, `pull` and `push`, each of length `points`; of random margins the mean, and
        `pull_low` and `pull_high` two standard deviations beside it.

    Raises:
        ValueError: If there are fewer classes, or the loss or an option of it is unknown.
    """
    if classes < 3:
        raise ValueError(f"classes must be at least 3, got {classes}")
    loss = make_loss(config.name, **config.options).eval()
    angle_rad = (torch.arange(points, dtype=torch.float64) + 0.5) * (math.pi / points)
    aside, held = torch.full_like(angle_rad, math.pi / 2), torch.full_like(angle_rad, own_rad)
    one = torch.ones(1, 1, dtype=torch.float64)
    scale = float(loss.others(one, _own(loss, one[0])))

    def pull(deviations: float = 0) -> list[float]:
        moved = angle_rad.clone().requires_grad_()
        return _slope(_row_losses(loss, moved, aside, classes, deviations), moved, scale)

    def push() -> list[float]:
        moved = angle_rad.clone().requires_grad_()
        return _slope(_row_losses(loss, held, moved, classes), moved, -scale)

    curves = {"angle_rad": angle_rad.tolist(), "pull": pull(), "push": push()}
    if isinstance(loss, Elastic):
        curves |= {"pull_low": pull(-SPREAD), "pull_high": pull(SPREAD)}
    return curves


def _slope(
    rows: Float[Tensor, " points"], moved: Float[Tensor, " points"], unit: float
) -> list[float]:
    (slope,) = torch.autograd.grad(rows.sum(), moved)
    return (slope / unit).tolist()


def _own(loss: Loss, cosine: Float[Tensor, " rows"]) -> OwnClass:
    norms = torch.full_like(cosine, DRAWN_NORM).detach()
    return OwnClass(cosine, norms, loss.observe(cosine.detach(), norms))


def _row_losses(
    loss: Loss,
    own_rad: Float[Tensor, " rows"],
    stranger_rad: Float[Tensor, " rows"],
    classes: int,
    deviations: float = 0,
) -> Float[Tensor, " rows"]:
    """Return the loss of rows with one stranger at an angle and the other strangers at 90°."""
    own = _own(loss, own_rad.cos())
    near = loss.others(stranger_rad.cos()[:, None], own)[:, 0]
    far = loss.others(torch.zeros_like(own_rad)[:, None], own)[:, 0]
    if loss.pool == "sum":
        pooled = near + (classes - 2) * far
    else:
        pooled = torch.logaddexp(near, far + math.log(classes - 2))
    if isinstance(loss, Elastic):
        mean, std = loss.mean_and_std
        target = loss.with_margins(own.cosine, torch.full_like(own_rad, mean + deviations * std))
    else:
        target = loss.target(own)
    return loss.row_losses(target, pooled, own)
