import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marginface.sphere.geometry import (
    clamp_cosine,
    inverse_lengths,
    normalise,
    rotate_cosine,
    sine_from_cosine,
)


def test_normalise_gives_unit_length_and_keeps_direction() -> None:
    features = torch.randn(5, 8, dtype=torch.float64) * 30
    unit = normalise(features)
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(unit * features.norm(dim=1, keepdim=True), features)


@pytest.mark.parametrize("length", [0.0, 1e-13])
def test_a_vector_without_direction_becomes_zero_with_zero_gradient(length: float) -> None:
    features = torch.tensor([[length, 0.0], [3.0, 4.0]], requires_grad=True)
    unit = normalise(features)
    (gradient,) = torch.autograd.grad(unit.sum(), features)
    assert unit[0].tolist() == [0, 0]
    assert gradient[0].tolist() == [0, 0]
    torch.testing.assert_close(unit[1], torch.tensor([0.6, 0.8]))
    assert gradient[1].abs().sum() > 0


def test_inverse_lengths_end_at_the_shortest() -> None:
    lengths = torch.tensor([0.0, 1e-12, 2e-12, 4.0], dtype=torch.float64)
    assert inverse_lengths(lengths).tolist() == [0, 0, 5e11, 0.25]


def test_normalise_gradcheck() -> None:
    features = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(normalise, features)


@pytest.mark.parametrize(
    ("cosine", "clamped"), [(1.5, 1.0), (-1.5, -1.0), (0.3, 0.3), (1.0000001, 1.0)]
)
def test_clamp_holds_the_value_and_passes_the_gradient(cosine: float, clamped: float) -> None:
    leaf = torch.tensor([cosine], dtype=torch.float64, requires_grad=True)
    value = clamp_cosine(leaf)
    assert value.item() == pytest.approx(clamped, abs=1e-15)
    assert torch.autograd.grad(value.sum(), leaf)[0].item() == 1


@given(st.floats(0, math.pi))
def test_sine_equals_the_sine_of_the_angle(angle: float) -> None:
    cosine = torch.tensor([math.cos(angle)], dtype=torch.float64)
    # 1.5e-8 is √ε: what the rounding of the cosine itself costs near 0 and π.
    assert sine_from_cosine(cosine).item() == pytest.approx(math.sin(angle), abs=3e-8)


@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0000002, -1.0000002])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sine_is_zero_with_zero_gradient_at_one_and_beyond(
    cosine: float, dtype: torch.dtype
) -> None:
    leaf = torch.tensor([cosine], dtype=dtype, requires_grad=True)
    sine = sine_from_cosine(leaf)
    assert sine.item() == 0
    assert torch.autograd.grad(sine.sum(), leaf)[0].item() == 0


def test_slope_of_the_sine_is_exact_one_step_inside() -> None:
    inside = torch.nextafter(torch.tensor([1.0]), torch.tensor([0.0])).requires_grad_()
    (slope,) = torch.autograd.grad(sine_from_cosine(inside).sum(), inside)
    c = float(inside.detach().double())
    assert slope.item() == pytest.approx(-c / math.sqrt((1 - c) * (1 + c)), rel=1e-6)
    assert abs(slope.item()) < 2_900.5


@given(st.floats(0.01, 3.13), st.floats(-2, 4))
def test_rotation_adds_angles(angle: float, margin: float) -> None:
    cosine = torch.tensor([math.cos(angle)], dtype=torch.float64)
    turned = rotate_cosine(cosine, torch.tensor([margin], dtype=torch.float64))
    assert turned.item() == pytest.approx(math.cos(angle + margin), abs=1e-12)
