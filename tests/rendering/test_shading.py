import pytest
import torch

from marginface.rendering import Camera, light_from_unit, normals_from_depth, shade


def test_plane_faces_away_from_the_camera() -> None:
    normals = normals_from_depth(torch.ones(1, 16, 16, dtype=torch.float64), Camera(16))
    torch.testing.assert_close(
        normals, torch.tensor([0, 0, 1]).double().expand(1, 16, 16, 3), atol=1e-6, rtol=0
    )


def test_slope_of_the_specification() -> None:
    camera = Camera(64)
    u = torch.arange(64, dtype=torch.float64) - camera.centre_px
    depth = (1 + 0.0005 * u).expand(1, 64, 64)
    # The centre lies between pixels; the mean of the four around it is the centre's to 1e-4.
    centre = normals_from_depth(depth, camera)[0, 31:33, 31:33].mean((0, 1))
    expected = torch.tensor([-0.1771, 0, 0.9842]).double()
    torch.testing.assert_close(centre, expected, atol=1e-4, rtol=0)


def test_border_normals_are_straight() -> None:
    depth = 1 + 0.02 * torch.rand(1, 8, 8, dtype=torch.float64)
    normals = normals_from_depth(depth, Camera(8))
    straight = torch.tensor([0, 0, 1]).double()
    for edge in (normals[:, 0], normals[:, -1], normals[:, :, 0], normals[:, :, -1]):
        torch.testing.assert_close(edge, straight.expand_as(edge))
    lengths = torch.linalg.vector_norm(normals, dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), atol=1e-2, rtol=0)


def test_ambient_only() -> None:
    albedo = torch.rand(2, 3, 8, 8, dtype=torch.float64) * 2 - 1
    normals = normals_from_depth(1 + 0.01 * torch.rand(2, 8, 8, dtype=torch.float64), Camera(8))
    light = torch.tensor([[0.6, 0, 0.3, -0.2], [0.2, 0, 0, 0]], dtype=torch.float64)
    expected = (1 + albedo) * light[:, 0, None, None, None] - 1
    torch.testing.assert_close(shade(albedo, normals, light), expected)


def test_back_lit_points_get_ambient_only() -> None:
    normals = torch.tensor([1.0, 0, 0]).double().expand(1, 4, 4, 3)
    light = torch.tensor([[0.3, 0.9, -2.0, 0]], dtype=torch.float64)
    lit = shade(torch.ones(1, 3, 4, 4, dtype=torch.float64), normals, light)
    torch.testing.assert_close(lit, torch.full_like(lit, 2 * 0.3 - 1))


def test_worked_example() -> None:
    # (1 + a)/2 = 0.75, l = (3, 0, 1)/sqrt(10), n·l = 1/sqrt(10): 2·0.75·(0.2 + 0.5/sqrt(10)) - 1.
    normals = torch.tensor([0.0, 0, 1]).double().expand(1, 2, 2, 3)
    light = torch.tensor([[0.2, 0.5, 3.0, 0]], dtype=torch.float64)
    lit = shade(torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64), normals, light)
    assert lit[0, 0, 0, 0].item() == pytest.approx(1.5 * (0.2 + 0.5 / 10**0.5) - 1)


def test_gradient_reaches_depth_through_normals() -> None:
    depth = (1 + 0.01 * torch.rand(1, 5, 5, dtype=torch.float64)).requires_grad_()
    albedo = torch.rand(1, 3, 5, 5, dtype=torch.float64)
    light = torch.tensor([[0.3, 0.6, 0.2, 0.4]], dtype=torch.float64)

    def lit(depth: torch.Tensor) -> torch.Tensor:
        return shade(albedo, normals_from_depth(depth, Camera(5)), light)

    assert torch.autograd.gradcheck(lit, depth)
    (gradient,) = torch.autograd.grad(lit(depth).sum(), depth)
    assert gradient.abs().max() > 1e-3


def test_light_from_unit() -> None:
    light = light_from_unit(torch.tensor([[-1.0, 1.0, 0.3, -0.4]]))
    torch.testing.assert_close(light, torch.tensor([[0.0, 1.0, 0.3, -0.4]]))
