import math

import torch

from marginface.rendering import (
    inverse_transform_points,
    mirror_view,
    rotation_matrix,
    transform_points,
    view_from_unit,
)


def some_views(count: int) -> torch.Tensor:
    return (torch.rand(count, 6, dtype=torch.float64) - 0.5) * torch.tensor(
        [2, 2, 2, 0.2, 0.2, 0.2]
    )


def test_inverse_undoes_the_view() -> None:
    views, points = some_views(5), torch.rand(5, 7, 9, 3, dtype=torch.float64)
    back = inverse_transform_points(transform_points(points, views), views)
    torch.testing.assert_close(back, points, atol=1e-12, rtol=0)


def test_rotation_is_a_rotation() -> None:
    matrix = rotation_matrix(some_views(5))
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3).double().expand(5, 3, 3))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(5).double())


def test_signs_of_the_nose_tip() -> None:
    angle = math.radians(20)
    nose = torch.tensor([[[0, 0, 0.9]]], dtype=torch.float64)
    yaw = torch.tensor([[0, angle, 0, 0, 0, 0]], dtype=torch.float64)
    pitch = torch.tensor([[angle, 0, 0, 0, 0, 0]], dtype=torch.float64)
    left, down = transform_points(nose, yaw)[0, 0], transform_points(nose, pitch)[0, 0]
    torch.testing.assert_close(left, torch.tensor([-0.0342, 0, 0.9060]).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(down, torch.tensor([0, 0.0342, 0.9060]).double(), atol=1e-4, rtol=0)


def test_order_of_the_rotations() -> None:
    # R_z R_y R_x: a quarter about x carries z to -y, then a quarter about z carries that to x.
    view = torch.tensor([[math.pi / 2, 0, math.pi / 2, 0, 0, 0]], dtype=torch.float64)
    moved = transform_points(torch.tensor([[[0.0, 0.0, 2.0]]]).double(), view)
    torch.testing.assert_close(moved[0, 0], torch.tensor([1.0, 0, 1]).double())


def test_mirrored_view_mirrors_points() -> None:
    views, points = some_views(4), torch.rand(4, 6, 3, dtype=torch.float64)
    flip = torch.tensor([-1.0, 1, 1]).double()
    mirrored = transform_points(points * flip, mirror_view(views))
    torch.testing.assert_close(mirrored, transform_points(points, views) * flip)


def test_ranges() -> None:
    view = view_from_unit(torch.ones(1, 6, dtype=torch.float64))
    third = math.pi / 3
    torch.testing.assert_close(view, torch.tensor([[third, third, third, 0.1, 0.1, 0]]).double())
