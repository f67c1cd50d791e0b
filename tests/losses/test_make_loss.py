"""The table's door: names, options, ranges; whole messages."""

import math

import pytest

from marginface.losses import LOSSES, make_loss


def message_of(name: str, **options: object) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        make_loss(name, **options)
    return str(caught.value)


def test_names_are_the_public_ones() -> None:
    expected = (
        "softmax sphereface cosface arcface curricularface magface adaface sface "
        "elasticface-arc elasticface-cos elasticface-arc-plus elasticface-cos-plus "
        "lh2face"
    )
    assert list(LOSSES) == expected.split()


def test_published_defaults() -> None:
    assert (make_loss("arcface").margin_rad, make_loss("arcface").scale) == (0.5, 64)
    assert make_loss("cosface").margin_cosine == 0.35
    assert make_loss("elasticface-arc").std_rad == 0.05
    assert make_loss("elasticface-cos").std_cosine == 0.05
    assert make_loss("elasticface-arc-plus").std_rad == 0.0175
    assert make_loss("elasticface-cos-plus").std_cosine == 0.025
    assert make_loss("adaface").h == 0.333
    assert make_loss("magface").lambda_g == 35


def test_unknown_name_and_option_name_the_nearest() -> None:
    assert message_of("arcfase").endswith("got 'arcfase'; did you mean 'arcface'?")
    assert message_of("arcface", margn_rad=0.5) == (
        "option of loss 'arcface' must be one of margin_rad, scale, boundary, gradient; "
        "got 'margn_rad'; did you mean 'margin_rad'?"
    )


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("arcface", "margin_rad"),
        ("curricularface", "margin_rad"),
        ("elasticface-arc", "margin_rad"),
        ("elasticface-arc", "std_rad"),
        ("elasticface-arc-plus", "margin_rad"),
        ("magface", "lower_margin_rad"),
        ("magface", "upper_margin_rad"),
    ],
)
def test_degrees_are_recognised(name: str, option: str) -> None:
    assert message_of(name, **{option: 28.6}) == (
        f"{option} must lie in [0, π/2], got 28.6; if it is in degrees, pass math.radians(28.6)"
    )
    make_loss(name, **{option: math.radians(28.6)})


def test_the_margin_of_magface_does_not_fall() -> None:
    assert message_of("magface", lower_margin_rad=0.8, upper_margin_rad=0.4) == (
        "upper_margin_rad must be at least lower_margin_rad = 0.8, got 0.4; "
        "the margin grows with the length"
    )
    make_loss("magface", lower_margin_rad=0.4, upper_margin_rad=0.4)


def test_degrees_are_recognised_in_the_other_losses() -> None:
    assert message_of("sface", intra_rad=50.0) == (
        "intra_rad must lie in [0, π], got 50.0; if it is in degrees, pass math.radians(50.0)"
    )
    assert message_of("adaface", margin=23.0) == (
        "margin must lie in [0, 1], got 23.0; if it is in degrees, pass math.radians(23.0)"
    )
    assert message_of("cosface", margin_cosine=28.6) == (
        "margin_cosine must lie in [0, 1], got 28.6; it is a difference of cosines"
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("softmax", {"scale": 0}, "scale must be finite and greater than 0, got 0"),
        ("arcface", {"margin_rad": -0.1}, "margin_rad must lie in [0, π/2], got -0.1"),
        ("arcface", {"margin_rad": 1.7}, "margin_rad must lie in [0, π/2], got 1.7"),
        ("arcface", {"margin_rad": math.nan}, "margin_rad must lie in [0, π/2], got nan"),
        (
            "arcface",
            {"boundary": "strait"},
            "boundary must be one of none, straight; got 'strait'; did you mean 'straight'?",
        ),
        (
            "arcface",
            {"gradient": "tru"},
            "gradient must be one of true, straight-through; got 'tru'; did you mean 'true'?",
        ),
        (
            "elasticface-cos-plus",
            {"ordering": "ranks"},
            "ordering must be one of rank, released; got 'ranks'; did you mean 'rank'?",
        ),
        (
            "magface",
            {"upper_norm": 5.0},
            "upper_norm must be above lower_norm = 10.0, got 5.0",
        ),
        ("magface", {"lambda_g": -1}, "lambda_g must be finite and at least 0, got -1"),
        ("sphereface", {"multiplier": 2.5}, "multiplier must be a whole number from 1 to 8, got"),
        ("sphereface", {"annealing": -1}, "annealing must be finite and at least 0, got -1"),
        ("adaface", {"momentum": 2}, "momentum must lie in [0, 1], got 2"),
        ("sface", {"slope": -80}, "slope must be finite and greater than 0, got -80"),
    ],
)
def test_values_out_of_range(name: str, options: dict, message: str) -> None:
    if "multiplier" in options:
        with pytest.raises((ValueError, TypeError)):
            make_loss(name, **options)
    else:
        assert message_of(name, **options) == message
