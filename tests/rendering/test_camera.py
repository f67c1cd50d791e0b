import math

import pytest
import torch

from marginface.rendering import Camera, depth_from_raw, depth_to_points, points_to_pixels


@pytest.mark.parametrize(("size", "focal"), [(64, 360.05), (112, 634.4), (128, 725.8)])
def test_focal_length(size: int, focal: float) -> None:
    assert Camera(size).focal_px == pytest.approx(focal, abs=0.06)
    assert Camera(size).half_width == pytest.approx(0.0875, abs=1e-4)


def test_outermost_pixels_see_the_edge() -> None:
    rays = Camera(64).rays(torch.zeros(1, dtype=torch.float64))
    half = math.tan(math.radians(5))
    torch.testing.assert_close(rays[0, 0], torch.tensor([-half, -half, 1]).double())
    torch.testing.assert_close(rays[63, 0], torch.tensor([-half, half, 1]).double())


def test_projection_undoes_back_projection() -> None:
    camera = Camera(16)
    depth = 0.9 + 0.2 * torch.rand(2, 16, 16, dtype=torch.float64)
    pixels = points_to_pixels(depth_to_points(depth, camera), camera)
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    expected = torch.stack((columns, rows), dim=-1).double().expand(2, -1, -1, -1)
    torch.testing.assert_close(pixels, expected, atol=1e-12, rtol=0)


def test_widened_camera_keeps_the_rays() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    wide = Camera(32).widened(5)
    torch.testing.assert_close(wide.rays(like)[5:-5, 5:-5], Camera(32).rays(like))


def test_depth_from_raw() -> None:
    raw = torch.randn(2, 64, 64, dtype=torch.float64) * 3
    depth = depth_from_raw(raw)
    assert depth.min() >= 0.9
    assert depth.max() <= 1.1
    torch.testing.assert_close(depth[:, :, :2], torch.full((2, 64, 2), 1.04).double())
    torch.testing.assert_close(depth[:, :, -2:], torch.full((2, 64, 2), 1.04).double())
    torch.testing.assert_close(depth_from_raw(raw + 5), depth)
    assert depth[:, :, 2:-2].std() > 0.01


@pytest.mark.parametrize("fov_rad", [0.0, 10.0])
def test_field_of_view_in_degrees_is_told(fov_rad: float) -> None:
    with pytest.raises(ValueError, match=r"fov_rad must lie in .*math\.radians"):
        Camera(64, fov_rad)


def test_wrong_depth_size_is_told() -> None:
    with pytest.raises(ValueError, match=r"depth must have shape \(batch, 8, 8\), got \(1, 4, 4\)"):
        depth_to_points(torch.ones(1, 4, 4), Camera(8))
