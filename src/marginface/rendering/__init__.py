"""Depth, albedo, light and view to a picture, differentiable in all four; no learning here.

    Î(u) = J(π(T⁻¹(d̂(u)·K⁻¹u))) · M

Only depth is rendered; the shaded canonical picture J is then sampled, bilinear and corner-aligned,
zero outside. Everything is tensor operations, batched, in float32 or float64, on any device.
"""

from typing import NamedTuple

from torch.nn.functional import grid_sample

from marginface.axes import Bool, Float, Tensor
from marginface.rendering.camera import (
    FAR,
    NEAR,
    Camera,
    depth_from_raw,
    depth_to_points,
    points_to_pixels,
)
from marginface.rendering.shading import (
    facing_light,
    light_from_unit,
    normal_axes,
    normals_from_depth,
    shade,
)
from marginface.rendering.trace import trace
from marginface.rendering.view import (
    inverse_transform_points,
    mirror_view,
    rotation_matrix,
    transform_points,
    view_from_unit,
)
from marginface.rendering.warp import March, sampling_grid, warp_depth

__all__ = [
    "FAR",
    "NEAR",
    "Camera",
    "March",
    "Rendering",
    "depth_from_raw",
    "depth_to_points",
    "facing_light",
    "inverse_transform_points",
    "light_from_unit",
    "mirror_view",
    "normal_axes",
    "normals_from_depth",
    "points_to_pixels",
    "render",
    "rotation_matrix",
    "sample_canonical",
    "sampling_grid",
    "shade",
    "trace",
    "transform_points",
    "view_from_unit",
    "warp_depth",
]


class Rendering(NamedTuple):
    """What `render` returns.

    Args:
        image: The picture in the view, zero where the mask is.
        mask: Where a ray met the surface.
        depth: The depth map in the view.
        canonical: The shaded picture J in the canonical frame, not clamped.
    """

    image: Float[Tensor, "batch channels rows columns"]
    mask: Bool[Tensor, "batch rows columns"]
    depth: Float[Tensor, "batch rows columns"]
    canonical: Float[Tensor, "batch channels height width"]


def render(
    depth: Float[Tensor, "batch height width"],
    albedo: Float[Tensor, "batch channels height width"],
    light: Float[Tensor, "batch 4"],
    view: Float[Tensor, "batch 6"],
    camera: Camera,
    *,
    target: Camera | None = None,
    march: March | None = None,
) -> Rendering:
    """Render a canonical depth map and albedo under a light and in a view.

    The symmetric second reconstruction is the same call with the same light and view, on
    `depth.flip(-1)` and `albedo.flip(-1)`.

    Args:
        depth: Canonical depth.
        albedo: Canonical colours in [-1, 1].
        light: Ambient, diffuse, l_x, l_y, see `shade`.
        view: r_x, r_y, r_z in radians, t_x, t_y, t_z.
        camera: The camera of the canonical maps.
        target: The camera of the view; `camera` itself if not given.
        march: How finely rays are searched.
    """
    canonical = shade(albedo, normals_from_depth(depth, camera), light)
    seen, mask = warp_depth(depth, view, camera, target=target, march=march)
    grid = sampling_grid(seen, view, camera, target=target)
    image = sample_canonical(canonical, grid) * mask[:, None]
    return Rendering(image, mask, seen, canonical)


def sample_canonical(
    maps: Float[Tensor, "batch channels height width"], grid: Float[Tensor, "batch rows columns 2"]
) -> Float[Tensor, "batch channels rows columns"]:
    """Read canonical maps at a sampling grid: bilinear, corner-aligned, zero outside."""
    return grid_sample(maps, grid, padding_mode="zeros", align_corners=True)
