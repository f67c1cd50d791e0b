"""The fast way into a view, forward only: for making pictures, where nothing is learnt.

A ray is a straight line in the canonical frame, so on the plane at canonical depth w it stands at

    q(w) = a + b / w,   a = Q'_xy / Q'_z,   b = Q_xy(0) - a · Q_z(0)

in units of the view at depth 1: one multiply-add for each trial plane, the same planes for all
rays, and they only span the depths the map has. The crossing is the one `warp_depth` finds.
"""

import torch
from torch.nn.functional import grid_sample

from marginface.axes import Bool, Float, Tensor
from marginface.rendering.camera import Camera, check_depth
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
    check_depth(depth, camera)
    with torch.no_grad():
        a, b = _lines(depth, view, camera, target or camera)
        field = (depth - NOWHERE)[:, None]
        low, high = float(depth.min()) - 1e-4, float(depth.max()) + 1e-4
        step = (high - low) / (planes - 1)
        front, is_hit = _march(field, a, b, low, step, planes)
        return _at(a, b, _refine(field, a, b, front, front + step)), is_hit


def _lines(depth: Tensor, view: Tensor, camera: Camera, target: Camera) -> tuple[Tensor, Tensor]:
    (x0, y0, z0), (x, y, z) = ray_lines(depth, view, target)
    inverse = 1 / z.clamp_min(LEAST_SLOPE)
    a = torch.stack((x * inverse, y * inverse), dim=-1)
    b = torch.stack((x0, y0), dim=-1) - a * z0[..., None]
    return a / camera.half_width, b / camera.half_width


def _at(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
    return torch.addcmul(a, b, (1 / w)[..., None])


def _gap(field: Tensor, grid: Tensor, w: Tensor | float) -> Tensor:
    surface = grid_sample(field, grid, padding_mode="zeros", align_corners=True)[:, 0]
    return (w - NOWHERE) - surface


def _march(
    field: Tensor, a: Tensor, b: Tensor, low: float, step: float, planes: int
) -> tuple[Tensor, Tensor]:
    # From the back to the front: the crossing written last is the one a ray meets first.
    front = torch.zeros_like(a[..., 0])
    behind = None
    for plane in reversed(range(planes)):
        w = low + plane * step
        gap = _gap(field, torch.add(a, b, alpha=1 / w), w)
        if behind is not None:
            front.masked_fill_((gap < 0) & behind, w)
        behind = gap >= 0
    is_hit = front > 0
    return front.masked_fill_(~is_hit, low), is_hit


def _refine(field: Tensor, a: Tensor, b: Tensor, low: Tensor, high: Tensor) -> Tensor:
    # Regula falsi with the old end's gap halved (Illinois): each round costs one look at the map.
    gap_low, gap_high = (_gap(field, _at(a, b, end), end) for end in (low, high))
    w = _between(low, high, gap_low, gap_high)
    for _ in range(REFINEMENTS):
        gap = _gap(field, _at(a, b, w), w)
        is_front = gap < 0
        low, high = torch.where(is_front, w, low), torch.where(is_front, high, w)
        gap_low, gap_high = (
            torch.where(is_front, gap, gap_low / 2),
            torch.where(is_front, gap_high / 2, gap),
        )
        w = _between(low, high, gap_low, gap_high)
    return w


def _between(low: Tensor, high: Tensor, gap_low: Tensor, gap_high: Tensor) -> Tensor:
    # Rays that hit nothing come here too, and must stay finite.
    share = (-gap_low / (gap_high - gap_low).clamp_min(1e-9)).clamp(0, 1)
    return low + (high - low) * share
