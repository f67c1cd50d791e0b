"""The pinhole camera, and the way between a depth map and points.

    P(u, v) = d(u, v) · ((u - c)/f, (v - c)/f, 1),   u = f·x/z + c,   f = (S - 1) / (2·tan(fov/2))

Pixel centres are the integers 0 … S-1 and c = (S - 1)/2, so the outermost pixel centres lie exactly
on the edge of the view, and every bilinear sampling here is corner-aligned. x points right, y down,
z away from the camera. The object sits at depth 1; depths have no unit.

Source: Wu et al., "Unsupervised Learning of Probably Symmetric Deformable 3D Objects from Images in
    the Wild", CVPR 2020, arXiv:1911.11130, section 3.
"""

import math
from dataclasses import dataclass

import torch

from marginface.axes import Float, Tensor

NEAR, FAR = 0.9, 1.1
BORDER_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Camera:
    """A square pinhole camera.

    Args:
        size: Pixels on a side.
        fov_rad: Angle between the outermost pixel centres, left to right.

    Example:
        >>> round(Camera(64).focal_px, 2)
        360.05
    """

    size: int
    fov_rad: float = math.radians(10)

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(f"size must be at least 2 pixels, got {self.size}")
        if not 0 < self.fov_rad < math.pi:
            hint = f"; if it is in degrees, pass math.radians({self.fov_rad})"
            raise ValueError(f"fov_rad must lie in (0, π), got {self.fov_rad}{hint}")

    @property
    def focal_px(self) -> float:
        """Return the focal length in pixels."""
        return (self.size - 1) / (2 * self.half_width)

    @property
    def centre_px(self) -> float:
        """Return the principal point, the same in both directions."""
        return (self.size - 1) / 2

    @property
    def half_width(self) -> float:
        """Return half the width of the view at depth 1."""
        return math.tan(self.fov_rad / 2)

    def widened(self, margin_px: int) -> "Camera":
        """Return the camera that sees `margin_px` more on every side with the same pixels.

        Example:
            >>> wide = Camera(112).widened(28)
            >>> wide.size, round(wide.focal_px - Camera(112).focal_px, 9)
            (168, 0.0)
        """
        size = self.size + 2 * margin_px
        return Camera(size, 2 * math.atan((size - 1) / (2 * self.focal_px)))

    def steps(self, like: Tensor) -> Float[Tensor, " size"]:
        """Return x/z of the columns, which is y/z of the rows."""
        pixels = torch.arange(self.size, dtype=like.dtype, device=like.device)
        return (pixels - self.centre_px) / self.focal_px

    def rays(self, like: Tensor) -> Float[Tensor, "height width 3"]:
        """Return K⁻¹(u, v, 1) for every pixel, with the type and device of `like`."""
        steps = self.steps(like)
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        return torch.stack((x, y, torch.ones_like(x)), dim=-1)


def depth_to_points(
    depth: Float[Tensor, "batch height width"], camera: Camera
) -> Float[Tensor, "batch height width 3"]:
    """Return the point in space behind every pixel of a depth map."""
    check_depth(depth, camera)
    return depth[..., None] * camera.rays(depth)


def check_depth(depth: Tensor, camera: Camera) -> None:
    """Raise unless a depth map has the camera's size.

    Raises:
        ValueError: If it has not.
    """
    if depth.shape[1:] != (camera.size, camera.size):
        raise ValueError(
            f"depth must have shape (batch, {camera.size}, {camera.size}), got {tuple(depth.shape)}"
        )


def points_to_pixels(
    points: Float[Tensor, "*batch 3"], camera: Camera
) -> Float[Tensor, "*batch 2"]:
    """Project points to pixels (u, v); depths under 0.1 count as 0.1."""
    z = points[..., 2:].clamp_min(0.1)
    return camera.focal_px * points[..., :2] / z + camera.centre_px


def depth_from_raw(
    raw: Float[Tensor, "batch height width"], *, near: float = NEAR, far: float = FAR
) -> Float[Tensor, "batch height width"]:
    """Turn a network's raw output into a depth map.

        d = (1 + tanh r)/2 · far + (1 - tanh r)/2 · near,   r = raw - mean(raw)

    The two left-most and right-most columns of 64 become the plane at 0.7·far + 0.3·near: a
    frame for the background to hold on to.
    """
    r = torch.tanh(raw - raw.mean(dim=(1, 2), keepdim=True))
    depth = (1 + r) / 2 * far + (1 - r) / 2 * near
    columns = torch.arange(raw.shape[2], device=raw.device)
    width = max(1, round(2 * raw.shape[2] / 64))
    is_border = (columns < width) | (columns >= raw.shape[2] - width)
    plane = BORDER_SHARE * far + (1 - BORDER_SHARE) * near
    return torch.where(is_border, torch.full_like(depth, plane), depth)
