"""Pull and push against the formulas of the papers, written out."""

import numpy as np
import pytest

from marginface.comparison.forces import force_curves
from marginface.losses import LOSSES
from marginface.training import LossConfig

S, CLASSES, OWN = 32.0, 1000, np.radians(50)


def curves_of(name: str, **options: object) -> dict[str, np.ndarray]:
    config = LossConfig(name=name, options=options)
    found = force_curves(config, classes=CLASSES, own_rad=OWN, points=90)
    return {key: np.asarray(values) for key, values in found.items()}


def shares(target: np.ndarray, strangers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Softmax's share of the own class, and of one stranger; the other 998 have a logit of 0."""
    own, near = np.exp(target), np.exp(strangers)
    total = own + near + CLASSES - 2
    return own / total, near / total


def test_cosface_by_hand() -> None:
    found = curves_of("cosface", scale=S, margin_cosine=0.2)
    angle = found["angle_rad"]
    assert angle[[0, -1]] == pytest.approx([np.pi / 180, np.pi - np.pi / 180])
    p, _ = shares(S * (np.cos(angle) - 0.2), np.zeros(90))
    np.testing.assert_allclose(found["pull"], (1 - p) * np.sin(angle), atol=1e-9)
    _, q = shares(np.full(90, S * (np.cos(OWN) - 0.2)), S * np.cos(angle))
    np.testing.assert_allclose(found["push"], q * np.sin(angle), atol=1e-9)


def test_arcface_sends_a_face_away_past_pi_minus_m() -> None:
    found = curves_of("arcface", scale=S, margin_rad=0.5)
    angle = found["angle_rad"]
    p, _ = shares(S * np.cos(angle + 0.5), np.zeros(90))
    np.testing.assert_allclose(found["pull"], (1 - p) * np.sin(angle + 0.5), atol=1e-7)
    assert (found["pull"][angle > np.pi - 0.5] < 0).all()


def test_sface_feels_its_sigmoids_and_not_the_slope_of_its_value() -> None:
    found = curves_of("sface", scale=S, slope=20.0, intra_rad=0.8, inter_rad=1.1)
    angle = found["angle_rad"]
    pull = np.sin(angle) / (1 + np.exp(-20 * (angle - 0.8)))
    np.testing.assert_allclose(found["pull"], pull, atol=1e-9)
    push = np.sin(angle) / (1 + np.exp(20 * (angle - 1.1)))
    np.testing.assert_allclose(found["push"], push, atol=1e-9)


def test_lh2face_pulls_by_the_length() -> None:
    """κ = 20 for every face, so this is CosFace with a scale of 20 and a margin of 0.35."""
    found, twin = curves_of("lh2face"), curves_of("cosface", scale=20.0, margin_cosine=0.35)
    np.testing.assert_allclose(found["pull"], twin["pull"], atol=1e-9)
    np.testing.assert_allclose(found["push"], twin["push"], atol=1e-9)


def test_elastic_margins_are_a_band_around_their_mean() -> None:
    found = curves_of("elasticface-cos", scale=S, margin_cosine=0.3, std_cosine=0.05)
    for key, margin in (("pull", 0.3), ("pull_low", 0.2), ("pull_high", 0.4)):
        same = curves_of("cosface", scale=S, margin_cosine=margin)["pull"]
        np.testing.assert_allclose(found[key], same, atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_pulls_a_far_face_and_lets_go_of_a_near_one(name: str) -> None:
    found = {key: np.asarray(values) for key, values in force_curves(LossConfig(name=name)).items()}
    degrees = np.degrees(found["angle_rad"])
    assert found["pull"][np.abs(degrees - 105) < 3].min() > 0.2
    assert np.abs(found["pull"][degrees < 10]).max() < 0.02
    assert found["push"][np.abs(degrees - 30) < 3].min() > 0.4
    assert np.abs(found["push"][degrees > 90]).max() < 0.02


def test_two_classes_are_no_own_class_a_moved_and_a_still_one() -> None:
    with pytest.raises(ValueError, match="classes must be at least 3, got 2"):
        force_curves(LossConfig(name="cosface"), classes=2)
