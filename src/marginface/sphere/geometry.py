"""Geometry of the unit hypersphere, safe in value and gradient at its awkward points.

    unit = x / |x|,   sin θ = √((1 - cos θ)(1 + cos θ)),   cos(θ + m) = cos θ·cos m - sin θ·sin m

A vector shorter than 1e-12 has no direction: it becomes zero and receives no gradient, because
dividing by its length would send a gradient of 1e12 and end the training.
"""

import torch

from marginface.axes import Float, Tensor

SHORTEST = 1e-12


def inverse_lengths(lengths: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """Return 1 / length, and 0 with no gradient where the length is below 1e-12."""
    has_direction = lengths > SHORTEST
    # The inner `where` keeps 1/0 out of the backward pass, where 0 · ∞ would be NaN.
    return torch.where(has_direction, 1 / torch.where(has_direction, lengths, 1), 0)


def normalise(features: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
    """Divide each vector by its length; a vector without direction becomes zero.

    Example:
        >>> normalise(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    lengths = torch.linalg.vector_norm(features, dim=-1)
    return features * inverse_lengths(lengths).unsqueeze(-1)


def clamp_cosine(cosine: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """Bring a cosine that rounding pushed beyond ±1 back to it; the gradient passes unchanged.

    Example:
        >>> clamp_cosine(torch.tensor([1.0000001, -0.5]))
        tensor([ 1.0000, -0.5000])
    """
    return cosine + (cosine.clamp(-1, 1) - cosine).detach()


def sine_from_cosine(cosine: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """Return sin θ ≥ 0 from cos θ; at ±1 and beyond, 0 with the gradient 0.

    The slope -cos θ / sin θ is infinite at ±1. The next float32 inside is sin θ = 3.5e-4 away, so
    everywhere else the slope is below 2,900 and exact.
    """
    squared = (1 - cosine) * (1 + cosine)
    is_inside = squared > 0
    return torch.where(is_inside, torch.sqrt(torch.where(is_inside, squared, 1)), 0)


def rotate_cosine(
    cosine: Float[Tensor, "*rows"], angle_rad: Float[Tensor, "*rows"]
) -> Float[Tensor, "*rows"]:
    """Return cos(θ + angle) from cos θ, one angle for each entry.

    Example:
        >>> rotate_cosine(torch.tensor([1.0]), torch.tensor([torch.pi / 3]))
        tensor([0.5000])
    """
    return cosine * torch.cos(angle_rad) - sine_from_cosine(cosine) * torch.sin(angle_rad)
