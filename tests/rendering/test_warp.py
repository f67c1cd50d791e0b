"""Acceptance of the renderer: identity view, mirror symmetry, a rasterised mesh, gradients."""

import math

import pytest
import torch

from marginface.rendering import (
    Camera,
    March,
    mirror_view,
    render,
    sampling_grid,
    trace,
    warp_depth,
)
from tests.rendering.rasteriser import rasterise_depth

CAMERA = Camera(64)


def grid_of(camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    steps = torch.linspace(-1, 1, camera.size, dtype=torch.float64)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return x, y


def bump(camera: Camera = CAMERA, *, lean: float = 0.0) -> torch.Tensor:
    x, y = grid_of(camera)
    return (1.05 - 0.1 * torch.exp(-((x - lean) ** 2 + y**2) / 0.25))[None]


def turned(yaw_deg: float, pitch_deg: float = 0.0, **others: float) -> torch.Tensor:
    view = [math.radians(pitch_deg), math.radians(yaw_deg), 0, 0, 0, 0]
    for name, value in others.items():
        view[["rx", "ry", "rz", "tx", "ty", "tz"].index(name)] = value
    return torch.tensor([view], dtype=torch.float64)


def test_identity_view_of_a_plane() -> None:
    depth = torch.ones(1, 64, 64, dtype=torch.float64)
    albedo = torch.rand(1, 3, 64, 64, dtype=torch.float64) * 2 - 1
    light = torch.tensor([[0.4, 0.5, 0.3, 0.1]], dtype=torch.float64)
    made = render(depth, albedo, light, turned(0), CAMERA)
    x, y = grid_of(CAMERA)
    grid = sampling_grid(made.depth, turned(0), CAMERA)
    torch.testing.assert_close(grid[0], torch.stack((x, y), -1), atol=1e-12, rtol=0)
    torch.testing.assert_close(made.image, made.canonical, atol=1e-12, rtol=0)
    assert made.mask.all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identity_view_returns_the_depth(dtype: torch.dtype) -> None:
    depth = bump(lean=0.2).to(dtype)
    warped, mask = warp_depth(depth, turned(0).to(dtype), CAMERA)
    torch.testing.assert_close(warped, depth, atol=1e-6, rtol=0)
    assert mask.all()
    assert warped.dtype == dtype


@pytest.mark.parametrize("view", [turned(25, 10, rz=0.1, tx=0.01), turned(-40, -5, ty=0.02)])
def test_mirror_symmetry(view: torch.Tensor) -> None:
    depth = bump(lean=0.3)
    seen, mask = warp_depth(depth, view, CAMERA)
    mirrored, mirrored_mask = warp_depth(depth.flip(-1), mirror_view(view), CAMERA)
    torch.testing.assert_close(mirrored.flip(-1), seen, atol=1e-12, rtol=0)
    assert torch.equal(mirrored_mask.flip(-1), mask)


@pytest.mark.parametrize("yaw_deg", [15.0, 30.0, 60.0])
def test_agrees_with_a_rasterised_mesh(yaw_deg: float) -> None:
    seen, mask = warp_depth(bump(), turned(yaw_deg), CAMERA)
    expected = rasterise_depth(bump()[0], turned(yaw_deg), CAMERA)
    is_hit = torch.isfinite(expected)
    both = is_hit & mask[0]
    error = (seen[0] - expected)[both].abs()
    assert error.median() < 1e-5
    assert error.quantile(0.99) < 2e-4
    assert (is_hit != mask[0]).double().mean() <= 0.03


def test_missed_rays_lie_far_and_outside_the_mask() -> None:
    seen, mask = warp_depth(bump(), turned(0, tx=0.08), CAMERA)
    assert not mask[0, :, :20].any()
    assert mask[0, :, 40:].all()
    torch.testing.assert_close(seen[~mask], torch.full_like(seen[~mask], 1.2))


def test_depth_translation_moves_the_search_along() -> None:
    seen, mask = warp_depth(torch.ones(1, 64, 64).double(), turned(0, tz=-0.3), CAMERA)
    torch.testing.assert_close(seen[mask], torch.full_like(seen[mask], 0.7))
    assert mask.all()


def test_implicit_gradient_of_depth_and_view() -> None:
    camera = Camera(16)
    depth, view = bump(camera), turned(20, 8, rz=0.05, tx=0.004, tz=0.01)
    weights = torch.rand(1, 16, 16, dtype=torch.float64)
    _, mask = warp_depth(depth, view, camera)

    def total(depth: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        # Rays at an outline jump when it moves; inside they do not.
        inner = mask.clone()
        inner[:, :3], inner[:, -3:], inner[:, :, :3], inner[:, :, -3:] = (False,) * 4
        # Coarse bisection may end in the cell beside the crossing's, whose slope is another.
        fine = warp_depth(depth, view, camera, march=March(bisections=30))[0]
        return (fine * weights)[inner].sum()

    depth.requires_grad_()
    view.requires_grad_()
    by_depth, by_view = torch.autograd.grad(total(depth, view), (depth, view))
    step = 1e-6
    with torch.no_grad():
        for k in range(6):
            move = torch.zeros_like(view)
            move[0, k] = step
            slope = (total(depth, view + move) - total(depth, view - move)) / (2 * step)
            assert by_view[0, k].item() == pytest.approx(slope.item(), abs=1e-7, rel=1e-6)
        for row, column in [(5, 6), (8, 8), (10, 4)]:
            move = torch.zeros_like(depth)
            move[0, row, column] = step
            slope = (total(depth + move, view) - total(depth - move, view)) / (2 * step)
            assert by_depth[0, row, column].item() == pytest.approx(slope.item(), abs=1e-6)


def test_gradients_reach_everything() -> None:
    camera = Camera(16)
    depth, view = bump(camera).requires_grad_(), turned(15).requires_grad_()
    albedo = torch.rand(1, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    light = torch.tensor([[0.4, 0.5, 0.3, 0.1]], dtype=torch.float64, requires_grad=True)
    image = render(depth, albedo, light, view, camera).image
    weights = torch.rand_like(image)
    for gradient in torch.autograd.grad((image * weights).sum(), (depth, albedo, light, view)):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 1e-3


def test_a_row_does_not_depend_on_its_batch() -> None:
    views = torch.cat([turned(10), turned(-30, 5), turned(20, 3)]).float()
    depth = bump().float().expand(3, -1, -1)
    together, _ = warp_depth(depth, views, CAMERA)
    alone, _ = warp_depth(depth[1:2], views[1:2], CAMERA)
    assert torch.equal(together[1:2], alone)


@pytest.mark.parametrize("view", [turned(0), turned(30, 10, tz=-0.05), turned(-45, -8, rz=0.1)])
def test_fast_trace_is_the_same_geometry(view: torch.Tensor) -> None:
    wide = CAMERA.widened(16)
    depth = bump(wide)
    fast, fast_mask = trace(depth, view, wide, planes=24, target=CAMERA)
    seen, mask = warp_depth(depth, view, wide, target=CAMERA, march=March(planes=128))
    exact = sampling_grid(seen, view, wide, target=CAMERA)
    both = mask & fast_mask
    assert both.double().mean() > 0.8
    assert (mask != fast_mask).double().mean() < 0.02
    # In pixels of the canonical map: a hundredth at the 99th percentile.
    error = (fast - exact)[both].abs() * wide.centre_px
    assert error.quantile(0.99) < 0.01


@pytest.mark.parametrize(
    ("options", "told"),
    [({"planes": 1}, "planes must be at least 2"), ({"near": 1.3}, r"near must lie in \(0, far\)")],
)
def test_march_options_are_checked(options: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        March(**options)


def test_wrong_size_is_told() -> None:
    with pytest.raises(ValueError, match=r"depth must have shape \(batch, 64, 64\)"):
        warp_depth(torch.ones(1, 32, 32), torch.zeros(1, 6), CAMERA)
