"""The depth map in the view: rays are marched against the height field of the canonical depth.

For the ray r = K⁻¹(u, v, 1) of a pixel and a trial depth z,

    Q(z) = T⁻¹(z·r),   q(z) = its projection,   g(z) = Q_z(z) - d(q(z))

The surface is where g first rises through 0. March, bisection and one secant step find it without
gradient; then d̂ = z* - g(z*) / sg[g'(z*)] carries the exact gradient of the implicit function to
the depth map and the view.

Differs: near and far follow t_z, which the antecedents keep at 0.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import grid_sample

from marginface.axes import Bool, Float, Tensor
from marginface.rendering.camera import FAR, NEAR, Camera, check_depth
from marginface.rendering.view import inverse_transform_points, rotation_matrix

SLACK = (FAR - NEAR) / 2
LEAST_SLOPE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class March:
    """How finely rays are searched.

    Args:
        planes: Trial depths of the march; a feature thinner than their distance can be missed.
        bisections: Halvings of the interval that holds the crossing.
        near: First trial depth, before t_z is added.
        far: Last trial depth, before t_z is added; also the depth given to rays that hit nothing.
    """

    planes: int = 48
    bisections: int = 6
    near: float = NEAR - SLACK
    far: float = FAR + SLACK

    def __post_init__(self) -> None:
        if self.planes < 2 or self.bisections < 0:
            raise ValueError(
                "planes must be at least 2 and bisections at least 0, "
                f"got {self.planes} and {self.bisections}"
            )
        if not 0 < self.near < self.far:
            raise ValueError(f"near must lie in (0, far), got near {self.near}, far {self.far}")


def ray_lines(
    like: Tensor, view: Float[Tensor, "batch 6"], target: Camera
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the rays of a view in the canonical frame, Q(z) = origin + slope · z, by axes."""
    # Axis by axis: no tensor of rays is made, and small pictures stay on one core.
    inverse = rotation_matrix(view).mT[..., None, None]
    origin = inverse_transform_points(torch.zeros_like(view[:, None, None, :3]), view)
    x, y = target.steps(like), target.steps(like)[:, None]
    slopes = [inverse[:, k, 0] * x + inverse[:, k, 1] * y + inverse[:, k, 2] for k in range(3)]
    return list(origin.unbind(-1)), slopes


class _HeightField:
    """The gap g(z) between the rays of one view and a canonical depth map."""

    def __init__(self, depth: Tensor, view: Tensor, source: Camera, target: Camera) -> None:
        self.origin, self.slopes = ray_lines(depth, view, target)
        self.depth = depth[:, None]
        self.half_width = source.half_width
        # Half a pixel of grace: without it rounding drops the border pixels.
        self.limit = 1 + 1 / (source.size - 1)

    def gap(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return g(z) and whether q(z) lies inside the map, both (batch, height, width)."""
        x, y, depth = (
            torch.addcmul(start, slope, z)
            for slope, start in zip(self.slopes, self.origin, strict=True)
        )
        scale = 1 / (self.half_width * depth.clamp_min(0.1))
        x, y = x * scale, y * scale
        inside = torch.maximum(x.abs(), y.abs()) <= self.limit
        grid = torch.stack((x, y), dim=-1)
        surface = grid_sample(self.depth, grid, padding_mode="border", align_corners=True)
        return depth - surface[:, 0], inside


def warp_depth(
    depth: Float[Tensor, "batch height width"],
    view: Float[Tensor, "batch 6"],
    camera: Camera,
    *,
    target: Camera | None = None,
    march: March | None = None,
) -> tuple[Float[Tensor, "batch rows columns"], Bool[Tensor, "batch rows columns"]]:
    """Return the depth map seen in the view, and where it is valid.

    Args:
        depth: Canonical depth, seen by `camera` in the identity view.
        view: The view, see `marginface.rendering.view`.
        camera: The camera of the canonical map.
        target: The camera of the view; `camera` itself if not given.
        march: How finely rays are searched.

    Returns:
        Depth clamped to near and far, with gradient; and the mask of rays that hit the map.
    """
    march = march or March()
    target = target or camera
    check_depth(depth, camera)
    shift = view[:, 5].detach()[:, None, None]
    near, far = march.near + shift, march.far + shift
    with torch.no_grad():
        frozen = _HeightField(depth.detach(), view.detach(), camera, target)
        crossing, is_hit = _first_crossing(frozen, march, near, far)
    if torch.is_grad_enabled() and (depth.requires_grad or view.requires_grad):
        crossing = _implicit_step(crossing, frozen, _HeightField(depth, view, camera, target))
    warped = torch.where(is_hit, crossing, far)
    warped = torch.maximum(torch.minimum(warped, far), near)
    return warped, is_hit & (warped.detach() < far)


def _first_crossing(
    field: _HeightField, march: March, near: Tensor, far: Tensor
) -> tuple[Tensor, Tensor]:
    step = (far - near) / (march.planes - 1)
    z = near.expand_as(field.slopes[0]).contiguous()
    before, was_inside = field.gap(z)
    low, is_hit = z.clone(), torch.zeros_like(was_inside)
    for plane in range(1, march.planes):
        z = (near + plane * step).expand_as(z)
        after, is_inside = field.gap(z)
        rises = (before < 0) & (after >= 0) & was_inside & is_inside & ~is_hit
        low = torch.where(rises, z - step, low)
        is_hit = is_hit | rises
        before, was_inside = after, is_inside
    high = low + step
    for _ in range(march.bisections):
        middle = (low + high) / 2
        is_above = field.gap(middle)[0] < 0
        low, high = torch.where(is_above, middle, low), torch.where(is_above, high, middle)
    gap_low, gap_high = field.gap(low)[0], field.gap(high)[0]
    share = gap_low / (gap_low - gap_high).clamp_max(-1e-12)
    return low + (high - low) * share.clamp(0, 1), is_hit


def _implicit_step(crossing: Tensor, frozen: _HeightField, field: _HeightField) -> Tensor:
    with torch.enable_grad():
        z = crossing.detach().requires_grad_()
        (slope,) = torch.autograd.grad(frozen.gap(z)[0].sum(), z)
    steep = torch.where(slope < 0, slope.clamp_max(-LEAST_SLOPE), slope.clamp_min(LEAST_SLOPE))
    return crossing - field.gap(crossing)[0] / steep


def sampling_grid(
    depth_in_view: Float[Tensor, "batch rows columns"],
    view: Float[Tensor, "batch 6"],
    camera: Camera,
    *,
    target: Camera | None = None,
) -> Float[Tensor, "batch rows columns 2"]:
    """Return where in the canonical map every pixel of the view lies, corners at -1 and 1."""
    rays = (target or camera).rays(depth_in_view)
    points = inverse_transform_points(depth_in_view[..., None] * rays, view)
    return points[..., :2] / (points[..., 2:].clamp_min(0.1) * camera.half_width)
