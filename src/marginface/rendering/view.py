"""The view: how the canonical object is turned and moved before the camera.

    T(P) = R(P - c₀) + c₀ + t,   T⁻¹(P) = Rᵀ(P - t - c₀) + c₀,   R = R_z R_y R_x,   c₀ = (0,0,1)

A view is a tensor (batch, 6): r_x, r_y, r_z in radians, then t_x, t_y, t_z. Positive r_y carries
the nose to the left of the picture, positive r_x carries it down.
"""

import math

import torch

from marginface.axes import Float, Tensor

ROTATION_RANGE_RAD = math.radians(60)
TRANSLATION_RANGE = 0.1
PIVOT_DEPTH = 1.0


def view_from_unit(
    raw: Float[Tensor, "batch 6"], *, depth_range: float = 0.0
) -> Float[Tensor, "batch 6"]:
    """Scale outputs in [-1, 1] to a view: 60 degrees, 0.1 sideways, `depth_range` in depth."""
    ranges = [ROTATION_RANGE_RAD] * 3 + [TRANSLATION_RANGE] * 2 + [depth_range]
    return raw * raw.new_tensor(ranges)


def mirror_view(view: Float[Tensor, "batch 6"]) -> Float[Tensor, "batch 6"]:
    """Return the view of the mirrored picture of a mirrored object: r_y, r_z and t_x change sign.

    Example:
        >>> mirror_view(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])).tolist()
        [[1.0, -2.0, -3.0, -4.0, 5.0, 6.0]]
    """
    return view * view.new_tensor([1.0, -1.0, -1.0, -1.0, 1.0, 1.0])


def rotation_matrix(view: Float[Tensor, "batch 6"]) -> Float[Tensor, "batch 3 3"]:
    """Return R = R_z R_y R_x."""
    (cx, cy, cz), (sx, sy, sz) = view[:, :3].cos().unbind(1), view[:, :3].sin().unbind(1)
    rows = [
        torch.stack((cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx), dim=1),
        torch.stack((sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx), dim=1),
        torch.stack((-sy, cy * sx, cy * cx), dim=1),
    ]
    return torch.stack(rows, dim=1)


def transform_points(
    points: Float[Tensor, "batch *grid 3"], view: Float[Tensor, "batch 6"]
) -> Float[Tensor, "batch *grid 3"]:
    """Carry points of the canonical frame into the view, T(P)."""
    pivot = _pivot(points)
    return _rotate(points - pivot, rotation_matrix(view)) + pivot + _spread(view[:, 3:], points)


def inverse_transform_points(
    points: Float[Tensor, "batch *grid 3"], view: Float[Tensor, "batch 6"]
) -> Float[Tensor, "batch *grid 3"]:
    """Carry points of the view back into the canonical frame, T⁻¹(P)."""
    pivot = _pivot(points)
    return _rotate(points - _spread(view[:, 3:], points) - pivot, rotation_matrix(view).mT) + pivot


def _pivot(like: Tensor) -> Tensor:
    return like.new_tensor([0.0, 0.0, PIVOT_DEPTH])


def _spread(rows: Tensor, like: Tensor) -> Tensor:
    return rows.reshape(len(rows), *[1] * (like.ndim - 2), 3)


def _rotate(points: Tensor, matrix: Tensor) -> Tensor:
    # Element by element: the same bits for every batch size, and no reduction over an axis of 3.
    m = matrix.reshape(len(matrix), *[1] * (points.ndim - 2), 3, 3)
    x, y, z = points.unbind(-1)
    rows = [m[..., i, 0] * x + m[..., i, 1] * y + m[..., i, 2] * z for i in range(3)]
    return torch.stack(rows, dim=-1)
