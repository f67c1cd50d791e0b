"""The checks of options: what they take, what they refuse, and the hint they give."""

import math
import subprocess
import sys

import numpy as np
import pytest

from marginface.losses.options import (
    check_angle,
    check_choice,
    check_fraction,
    check_number,
    check_positive,
    check_whole,
)


@pytest.mark.parametrize("value", ["abc", "0.5", None, True, [0.5]])
def test_what_is_not_a_number(value: object) -> None:
    with pytest.raises(TypeError, match="margin_rad must be a number, got "):
        check_number("margin_rad", value)


@pytest.mark.parametrize("value", [2.0, 2.5, "2", None, True])
def test_what_is_not_a_whole_number(value: object) -> None:
    with pytest.raises(TypeError, match="chunk must be a whole number, got "):
        check_whole("chunk", value)
    check_whole("chunk", np.int64(2))


def test_text_for_a_number_is_told_in_house_words() -> None:
    # In a process of its own: while tests run, annotations are checked before any of this.
    code = """
from marginface.heads import IdentityHead
from marginface.losses import make_loss
options = [("magface", "lambda_g"), ("magface", "upper_norm"), ("sphereface", "annealing")]
tries = [
    (option, lambda name=name, option=option: make_loss(name, **{option: "x"}))
    for name, option in options
]
sizes = dict(num_identities=5, dim=8)
for wrong in ({"chunk": 2.5}, {"num_identities": 5.0}, {"dim": 8.5}, {"sample_rate": "x"}):
    given = sizes | {"loss": make_loss("softmax")} | wrong
    tries.append((str(wrong), lambda given=given: IdentityHead(**given)))
for name, build in tries:
    try:
        build()
    except TypeError as told:
        assert " number, got " in str(told), (name, told)
    else:
        raise AssertionError(name)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


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
