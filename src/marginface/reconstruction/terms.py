"""The terms of the reconstruction loss, each a function of pictures and maps.

    E₁(Î, I; σ) = Σ M [√2 |Î - I| / (σ + ε) + log(σ + ε)] / Σ M          Laplace, σ learnt
    E₁(Î, I)    = Σ M |Î - I| / Σ M                                     without σ
    E_p(Î, I; σ) = Σ M↓ [(φ(Î) - φ(I))² / (2σ² + ε) + log(σ + ε)] / Σ M↓
    L_sm = mean |∂_u d| / (far - near) + mean |∂_v d| / (far - near)
    L_view: V must say "identity view" of the canonical face, and turn with a mirrored picture

Source: Wu et al., CVPR 2020, arXiv:1911.11130, equations 3 to 5. L_view is inferred: the LH2Face
    abstract names it and no public page defines it.
"""

import math

from torch.nn import functional as F

from marginface.axes import Bool, Float, Tensor
from marginface.rendering import FAR, NEAR
from marginface.rendering.view import ROTATION_RANGE_RAD, TRANSLATION_RANGE

EPSILON = 1e-7


def photometric(
    drawn: Float[Tensor, "batch 3 rows columns"],
    picture: Float[Tensor, "batch 3 rows columns"],
    mask: Bool[Tensor, "batch rows columns"],
    sigma: Float[Tensor, "batch rows columns"] | None = None,
) -> Float[Tensor, ""]:
    """Return E₁ over the pixels of the mask; 0 if there are none.

    Args:
        drawn: Î, about [-1, 1].
        picture: I, in [-1, 1].
        mask: Where Î is valid.
        sigma: How far pixels may be off, greater than 0; None for the mean absolute difference.
    """
    difference = (drawn - picture).abs()
    if sigma is not None:
        spread = sigma[:, None] + EPSILON
        difference = math.sqrt(2) * difference / spread + spread.log()
    return _masked_mean(difference, mask[:, None].to(difference.dtype))


def perceptual(
    drawn: Float[Tensor, "batch channels h w"],
    picture: Float[Tensor, "batch channels h w"],
    mask: Bool[Tensor, "batch rows columns"],
    sigma: Float[Tensor, "batch tall wide"] | None = None,
) -> Float[Tensor, ""]:
    """Return E_p over feature maps; without σ, half the mean squared difference.

    Args:
        drawn: Features of Î.
        picture: Features of I.
        mask: Where Î is valid, at the size of the pictures.
        sigma: How far features may be off, at any size.
    """
    size = (drawn.shape[2], drawn.shape[3])
    weight = F.adaptive_avg_pool2d(mask[:, None].to(drawn.dtype), size)
    difference = (drawn - picture).square()
    if sigma is None:
        return _masked_mean(difference / 2, weight)
    spread = F.interpolate(sigma[:, None], size=size, mode="bilinear", align_corners=False)
    return _masked_mean(
        difference / (2 * spread.square() + EPSILON) + (spread + EPSILON).log(), weight
    )


def smoothness(depth: Float[Tensor, "batch rows columns"]) -> Float[Tensor, ""]:
    """Return L_sm, the mean steepness of depth in both directions."""
    across = depth.diff(dim=2).abs().mean()
    down = depth.diff(dim=1).abs().mean()
    return (across + down) / (FAR - NEAR)


def view_distance(
    view: Float[Tensor, "batch 6"], wanted: Float[Tensor, "batch 6"]
) -> Float[Tensor, ""]:
    """Return the mean over pictures of |view - wanted|₁, every component over its range.

    The depth component is left out: its range is 0 for faces.
    """
    ranges = [ROTATION_RANGE_RAD] * 3 + [TRANSLATION_RANGE] * 2
    shares = (view - wanted)[:, :5] / view.new_tensor(ranges)
    return shares.abs().sum(dim=1).mean()


def _masked_mean(values: Tensor, weight: Tensor) -> Tensor:
    weight = weight.expand_as(values)
    return (values * weight).sum() / weight.sum().clamp_min(1.0)
