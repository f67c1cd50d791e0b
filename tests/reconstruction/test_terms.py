"""The terms of the reconstruction loss against their formulas."""

import math

import pytest
import torch

from marginface.reconstruction.terms import (
    perceptual,
    photometric,
    smoothness,
    view_distance,
)


def pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(2, 3, 5, 5, generator=generator, dtype=torch.float64)
    picture = torch.randn(2, 3, 5, 5, generator=generator, dtype=torch.float64)
    return drawn, picture, torch.rand(2, 5, 5, generator=generator) > 0.4


def test_photometric_is_the_masked_mean() -> None:
    drawn, picture, mask = pictures()
    total = count = 0.0
    for n in range(2):
        for y in range(5):
            for x in range(5):
                if mask[n, y, x]:
                    total += float((drawn - picture)[n, :, y, x].abs().sum())
                    count += 3
    assert float(photometric(drawn, picture, mask)) == pytest.approx(total / count, abs=1e-12)


def test_constant_sigma_is_best_at_root_two_times_the_mean_difference() -> None:
    drawn, picture, mask = pictures()
    mean = float(photometric(drawn, picture, mask))

    def at(sigma: float) -> float:
        spread = torch.full((2, 5, 5), sigma, dtype=torch.float64)
        return float(photometric(drawn, picture, mask, spread))

    best = math.sqrt(2) * mean
    assert at(best) < at(best * 1.01)
    assert at(best) < at(best * 0.99)


def test_photometric_of_nothing_is_zero() -> None:
    drawn, picture, mask = pictures()
    assert float(photometric(drawn, picture, torch.zeros_like(mask))) == 0


def test_perceptual_by_hand() -> None:
    drawn = torch.tensor([[[[1.0, 4.0]]]], dtype=torch.float64)
    picture = torch.zeros_like(drawn)
    mask = torch.tensor([[[True, False]]])
    assert float(perceptual(drawn, picture, mask)) == pytest.approx(0.5)
    sigma = torch.full((1, 1, 2), 0.5, dtype=torch.float64)
    expected = 1 / (2 * 0.25 + 1e-7) + math.log(0.5 + 1e-7)
    assert float(perceptual(drawn, picture, mask, sigma)) == pytest.approx(expected)


def test_smoothness_by_hand() -> None:
    depth = torch.tensor([[[1.0, 1.02], [1.0, 1.04]]])
    assert float(smoothness(depth)) == pytest.approx((0.03 + 0.01) / 0.2, rel=1e-5)


def test_view_distance_counts_shares_of_the_range() -> None:
    view = torch.tensor([[math.radians(30), 0, 0, 0.05, 0, 7.0]])
    assert float(view_distance(view, torch.zeros(1, 6))) == pytest.approx(1.0)
