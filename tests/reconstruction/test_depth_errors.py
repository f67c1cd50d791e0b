"""Errors of depth against plain loops, and their laws."""

import math

import numpy as np
import pytest
import torch

from marginface.reconstruction import normal_angle_error, scale_invariant_error
from marginface.rendering import Camera


def test_equals_the_formula() -> None:
    generator = np.random.default_rng(0)
    depth, truth = generator.uniform(0.9, 1.1, (2, 2, 6, 6))
    mask = generator.random((2, 6, 6)) > 0.3
    expected = [
        float(np.std(np.log(d[m]) - np.log(t[m])))
        for d, t, m in zip(depth, truth, mask, strict=True)
    ]
    actual = scale_invariant_error(*map(torch.from_numpy, (depth, truth, mask)))
    assert actual.tolist() == pytest.approx(expected, abs=1e-12)


def test_scale_does_not_matter() -> None:
    truth = torch.rand(1, 8, 8, dtype=torch.float64) * 0.1 + 0.95
    mask = torch.ones(1, 8, 8, dtype=torch.bool)
    assert float(scale_invariant_error(truth * 1.3, truth, mask)) < 1e-7


def test_angle_between_a_slope_and_a_wall() -> None:
    camera = Camera(16)
    wall = torch.ones(1, 16, 16, dtype=torch.float64)
    columns = torch.arange(16, dtype=torch.float64) - camera.centre_px
    slope = wall + 0.001 * columns
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[:, 6:10, 6:10] = True
    # At depth 1 a pixel is 1/f wide, so a rise of 0.001 a pixel is an angle of arctan(0.001·f).
    expected = math.atan(0.001 * camera.focal_px)
    assert float(normal_angle_error(slope, wall, mask, camera)) == pytest.approx(expected, rel=0.01)
    assert float(normal_angle_error(wall, wall, mask, camera)) < 1e-6


def test_an_empty_mask_has_no_error() -> None:
    depth = torch.ones(1, 8, 8)
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    assert math.isnan(float(scale_invariant_error(depth, depth, mask)))
