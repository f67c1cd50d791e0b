"""The checks of options: what they take, what they refuse, and the hint they give."""

import math

import pytest

from marginface.losses.options import (
    check_angle,
    check_choice,
    check_fraction,
    check_number,
    check_positive,
)


@pytest.mark.parametrize("value", ["abc", "0.5", None, True, [0.5]])
def test_what_is_not_a_number(value: object) -> None:
    with pytest.raises(TypeError, match="margin_rad must be a number, got "):
        check_number("margin_rad", value)


def test_numbers_within_their_limits_pass() -> None:
    check_number("count", 2)
    check_positive("scale", 64.0)
    check_angle("margin_rad", 0.5)
    check_angle("intra_rad", 2.0, high=math.pi)
    check_fraction("h", 1.0)
    check_choice("boundary", "easy", ["easy", "none"])


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_positive_is_finite_and_above_zero(value: float) -> None:
    with pytest.raises(ValueError, match="scale must be finite and greater than 0"):
        check_positive("scale", value)


def test_degrees_get_the_hint_and_other_angles_do_not() -> None:
    with pytest.raises(ValueError, match=r"got 28.6; if it is in degrees, pass math.radians\(28"):
        check_angle("margin_rad", 28.6)
    with pytest.raises(ValueError, match=r"must lie in \[0, π/2\], got -0.1$"):
        check_angle("margin_rad", -0.1)


def test_fractions_say_their_unit() -> None:
    message = r"margin_cosine must lie in \[0, 1\], got 20.0; it is a difference of cosines"
    with pytest.raises(ValueError, match=message):
        check_fraction("margin_cosine", 20.0, unit="it is a difference of cosines")


def test_choices_name_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'easy'"):
        check_choice("boundary", "eazy", ["easy", "none"])
