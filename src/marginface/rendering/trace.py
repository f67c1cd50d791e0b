"""The fast way into a view, forward only: for making pictures, where nothing is learnt.

A ray is a straight line in the canonical frame, so on the plane at canonical depth w it stands at

    q(w) = a + b / w,   a = Q'_xy / Q'_z,   b = Q_xy(0) - a · Q_z(0)

in units of the view at depth 1: one multiply-add for each trial plane, the same planes for all
rays, and they only span the depths the map has. The crossing is the one `warp_depth` finds.
"""

import torch
from torch.nn.functional import grid_sample

from marginface.axes import Bool, Float, Tensor
from marginface.rendering.camera import Camera
from marginface.rendering.warp import LEAST_SLOPE, ray_lines

# Read outside the map, which no trial depth reaches.
NOWHERE = 4.0
REFINEMENTS = 3


def trace(
    depth: Float[Tensor, "batch height width"],
    view: Float[Tensor, "batch 6"],
    camera: Camera,
    *,
    planes: int,
    target: Camera | None = None,
) -> tuple[Float[Tensor, "batch rows columns 2"], Bool[Tensor, "batch rows columns"]]:
    """Return where in the canonical map every pixel of the view lies, and whether it does.

    Args:
        depth: Canonical depth, seen by `camera` in the identity view.
        view: The view; the head must turn by less than 90 degrees.
        camera: The camera of the canonical map.
        planes: Trial depths between the smallest and the largest of the map.
        target: The camera of the view; `camera` itself if not given.

    Returns:
        The sampling grid, corners at -1 and 1, and the mask of rays that hit the map.
    """
    with torch.no_grad():
        a, b = _lines(depth, view, camera, target or camera)
        field = (depth - NOWHERE)[:, None]
        low, high = float(depth.min()) - 1e-4, float(depth.max()) + 1e-4
        front, gaps, is_hit = _march(field, a, b, low, high, planes)
        w = _refine(field, a, b, front, (high - low) / (planes - 1), gaps)
        return torch.addcmul(a, b, 1 / w[..., None]), is_hit


def _lines(depth: Tensor, view: Tensor, camera: Camera, target: Camera) -> tuple[Tensor, Tensor]:
    (x0, y0, z0), (x, y, z) = ray_lines(depth, view, target)
    inverse = 1 / z.clamp_min(LEAST_SLOPE)
    a = torch.stack((x * inverse, y * inverse), dim=-1)
    b = torch.stack((x0, y0), dim=-1) - a * z0[..., None]
    return a / camera.half_width, b / camera.half_width


def _gap(field: Tensor, grid: Tensor, w: Tensor | float) -> Tensor:
    surface = grid_sample(field, grid, padding_mode="zeros", align_corners=True)[:, 0]
    return (w - NOWHERE) - surface


def _march(
    field: Tensor, a: Tensor, b: Tensor, low: float, high: float, planes: int
) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    step = (high - low) / (planes - 1)
    before = _gap(field, torch.add(a, b, alpha=1 / low), low)
    front = torch.full_like(before, low)
    gaps = (before, torch.full_like(before, step))
    is_hit = torch.zeros_like(before, dtype=torch.bool)
    for plane in range(1, planes):
        w = low + plane * step
        after = _gap(field, torch.add(a, b, alpha=1 / w), w)
        rises = (before < 0) & (after >= 0) & ~is_hit
        front = torch.where(rises, w - step, front)
        gaps = (torch.where(rises, before, gaps[0]), torch.where(rises, after, gaps[1]))
        is_hit = is_hit | rises
        before = after
    return front, gaps, is_hit


def _refine(
    field: Tensor, a: Tensor, b: Tensor, front: Tensor, step: float, gaps: tuple[Tensor, Tensor]
) -> Tensor:
    # Regula falsi with the old end's gap halved (Illinois): each round costs one look at the map.
    low, high = front, front + step
    gap_low, gap_high = gaps
    w = low - (high - low) * gap_low / (gap_high - gap_low).clamp_min(1e-9)
    for _ in range(REFINEMENTS):
        gap = _gap(field, torch.addcmul(a, b, 1 / w[..., None]), w)
        is_front = gap < 0
        low, high = torch.where(is_front, w, low), torch.where(is_front, high, w)
        gap_low, gap_high = (
            torch.where(is_front, gap, gap_low / 2),
            torch.where(is_front, gap_high / 2, gap),
        )
        w = low - (high - low) * gap_low / (gap_high - gap_low).clamp_min(1e-9)
    return w
