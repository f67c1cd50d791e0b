"""An angle added to the angle with the own class, and what happens past π."""

import math

import torch

from marginface.axes import Float, Tensor
from marginface.sphere import rotate_cosine

BOUNDARIES = ("none", "straight")


def add_margin(
    cosine_y: Float[Tensor, " batch"], margin_rad: Float[Tensor, " batch"], boundary: str
) -> Float[Tensor, " batch"]:
    """Return cos(θ + m), or past θ = π - m its straight branch cos θ - m·sin m.

    Past π - m the equation rises again and pushes the worst faces further away. With
    boundary "straight" it goes on falling; the two meet nowhere, the value jumps there.
    """
    turned = rotate_cosine(cosine_y, margin_rad)
    if boundary == "none":
        return turned
    # Without the clamp a negative draw would call every θ near π past the turn.
    is_past = cosine_y < -torch.cos(margin_rad.clamp(0, math.pi))
    return torch.where(is_past, cosine_y - margin_rad * torch.sin(margin_rad), turned)
