"""The log-normaliser of von Mises-Fisher and its slope: the published table, mpmath, integrals."""

import math
from functools import cache

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from marginface.sphere import mean_resultant_length, relative_log_normaliser

# κ, Φ_512(κ), A_512(κ)
TABLE = [
    (1, 0.000976560644612, 0.001953117578466),
    (5, 0.024412903022846, 0.009764697476780),
    (20, 0.390328733997822, 0.039003306390924),
    (64, 3.969497048587668, 0.123112566242789),
    (110, 11.560056227839937, 0.205778764832891),
    (512, 193.322015514075640, 0.618332543667232),
    (1000, 540.258915820446500, 0.776530932902539),
]
# Every branch: the circle, the closed form, both ends of the steps down, the expansion alone.
DIMS = [2, 3, 4, 5, 16, 64, 127, 128, 129, 512, 2048]
KAPPAS = [0.001, 0.03, 0.5, 0.999, 1.0, 1.001, 3.0, 22.6, 127.0, 700.0, 1e4]


def one(value: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(value, dtype=dtype)


def phi(kappa: float, dim: int) -> float:
    return relative_log_normaliser(one(kappa), dim).item()


def mean(kappa: float, dim: int) -> float:
    return mean_resultant_length(one(kappa), dim).item()


@cache
def exact(kappa: float, dim: int) -> tuple[float, float]:
    """Φ and A from 0F1, a series of positive terms, in 40 digits: another road to both."""
    with mpmath.workdps(40):
        x, half = mpmath.mpf(kappa) ** 2 / 4, mpmath.mpf(dim) / 2
        here, above = mpmath.hyp0f1(half, x), mpmath.hyp0f1(half + 1, x)
        return float(mpmath.log(here)), float(mpmath.mpf(kappa) / dim * above / here)


@pytest.mark.parametrize(("kappa", "phi_512", "mean_512"), TABLE)
def test_published_table(kappa: float, phi_512: float, mean_512: float) -> None:
    assert phi(kappa, 512) == pytest.approx(phi_512, abs=1e-9, rel=1e-11)
    assert mean(kappa, 512) == pytest.approx(mean_512, abs=1e-12)
    if kappa >= 2:
        single = relative_log_normaliser(one(kappa, torch.float32), 512)
        assert single.dtype == torch.float32
        assert single.item() == pytest.approx(phi_512, rel=2e-5)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize(("dtype", "budget"), [(torch.float64, 2e-11), (torch.float32, 3e-6)])
def test_relative_error_against_forty_digits(dim: int, dtype: torch.dtype, budget: float) -> None:
    kappas = torch.tensor(KAPPAS, dtype=dtype)
    expected = [exact(kappa, dim) for kappa in kappas.tolist()]
    for found, index in (
        (relative_log_normaliser(kappas, dim), 0),
        (mean_resultant_length(kappas, dim), 1),
    ):
        assert found.dtype == dtype
        for value, pair in zip(found.tolist(), expected, strict=True):
            assert value == pytest.approx(pair[index], rel=budget, abs=0)


def test_zero_is_the_uniform_distribution() -> None:
    for dim in (2, 3, 17, 512):
        kappa = one(0.0).requires_grad_()
        value = relative_log_normaliser(kappa, dim)
        (slope,) = torch.autograd.grad(value, kappa, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, kappa)
        assert value.item() == slope.item() == 0
        assert curvature.item() == pytest.approx(1 / dim, rel=1e-14)


@pytest.mark.parametrize("kappa", [1e-3, 0.7, 0.9999, 1.0, 1.5, 30.0, 1e4])
def test_three_dimensions_in_closed_form(kappa: float) -> None:
    with mpmath.workdps(40):
        x = mpmath.mpf(kappa)
        expected = float(x + mpmath.log1p(-mpmath.exp(-2 * x)) - mpmath.log(2 * x))
        slope = float(mpmath.coth(x) - 1 / x)
    assert phi(kappa, 3) == pytest.approx(expected, rel=1e-14)
    assert mean(kappa, 3) == pytest.approx(slope, rel=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_jumps_where_the_series_ends(dtype: torch.dtype) -> None:
    below = torch.nextafter(one(1.0, dtype), one(0.0, dtype))
    budget = 16 * torch.finfo(dtype).eps
    for function in (relative_log_normaliser, mean_resultant_length):
        pair = function(torch.stack([below, one(1.0, dtype)]), 3)
        assert pair[0].item() == pytest.approx(pair[1].item(), rel=budget)


@pytest.mark.parametrize("dim", [3, 64, 512])
@pytest.mark.parametrize("kappa", [0.3, 5.0, 110.0, 900.0])
def test_slope_is_the_mean_resultant_length(dim: int, kappa: float) -> None:
    step = 1e-4 * max(kappa, 1)
    difference = (phi(kappa + step, dim) - phi(kappa - step, dim)) / (2 * step)
    leaf = one(kappa).requires_grad_()
    (slope,) = torch.autograd.grad(relative_log_normaliser(leaf, dim), leaf, create_graph=True)
    assert slope.item() == pytest.approx(difference, abs=1e-7)
    assert slope.item() == mean(kappa, dim)
    (curvature,) = torch.autograd.grad(slope, leaf)
    a = mean(kappa, dim)
    assert curvature.item() == pytest.approx(1 - a * a - (dim - 1) / kappa * a, rel=1e-9)


@pytest.mark.parametrize("dim", [3, 6, 130])
def test_gradients_of_both_orders(dim: int) -> None:
    kappas = torch.tensor([0.4, 2.0, 40.0], dtype=torch.float64, requires_grad=True)
    for function in (relative_log_normaliser, mean_resultant_length):
        assert torch.autograd.gradcheck(lambda k, f=function: f(k, dim), kappas)
        assert torch.autograd.gradgradcheck(lambda k, f=function: f(k, dim), kappas)


@pytest.mark.parametrize("kappa", [0.1, 1.0, 10.0, 100.0])
def test_density_on_the_ball_integrates_to_one(kappa: float) -> None:
    nodes, weights = np.polynomial.legendre.leggauss(200)
    log_density = -math.log(4 * math.pi) - phi(kappa, 3) + kappa * nodes
    assert 2 * math.pi * (weights @ np.exp(log_density)) == pytest.approx(1, abs=1e-11)


@pytest.mark.parametrize("kappa", [1.0, 22.6, 110.0, 512.0, 1000.0])
def test_density_in_512_dimensions_integrates_to_one(kappa: float) -> None:
    dim = 512
    uniform = math.lgamma(dim / 2) - math.log(2) - dim / 2 * math.log(math.pi)
    assert uniform == pytest.approx(867.968103160394, abs=1e-9)
    area = math.log(2) + (dim - 1) / 2 * math.log(math.pi) - math.lgamma((dim - 1) / 2)
    # Over the angle the integrand is smooth and periodic: equal steps converge at once.
    angles = (np.arange(4000) + 0.5) * math.pi / 4000
    log_density = uniform - phi(kappa, dim) + area + kappa * np.cos(angles)
    mass = np.exp(log_density + (dim - 2) * np.log(np.sin(angles))) * math.pi / 4000
    assert mass.sum() == pytest.approx(1, abs=1e-11)
    assert mass @ np.cos(angles) == pytest.approx(mean(kappa, dim), abs=1e-11)


@given(st.integers(2, 2048), st.floats(1e-3, 1e4), st.floats(1.01, 3))
@example(128, 2.0**-8, 2.0)  # where the error is largest and the lower bound nearly equality
def test_order_convexity_and_bounds(dim: int, kappa: float, factor: float) -> None:
    further = kappa * factor
    low, high = mean(kappa, dim), mean(further, dim)
    assert 0 < low < min(1, kappa / dim)
    assert low < high
    rise = (phi(further, dim) - phi(kappa, dim)) / (further - kappa)
    assert low * (1 - 1e-9) < rise < high * (1 + 1e-9)  # a chord lies between the end slopes
    half, slack = (dim - 1) / 2, 2e-11  # the stated error
    assert low >= kappa / (half + math.hypot(half + 1, kappa)) * (1 - slack)
    assert low <= kappa / (half + math.hypot(half, kappa)) * (1 + slack)


def test_any_shape_and_no_new_dtype() -> None:
    grid = torch.rand(2, 3, 4)
    assert relative_log_normaliser(grid, 8).shape == mean_resultant_length(grid, 8).shape
    assert relative_log_normaliser(grid[:0], 8).numel() == 0


def test_a_line_has_no_circle() -> None:
    for function in (relative_log_normaliser, mean_resultant_length):
        with pytest.raises(ValueError, match="dim must be at least 2, got 1; a circle"):
            function(one(1.0), 1)
