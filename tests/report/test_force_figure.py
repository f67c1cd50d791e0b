"""The picture of pull and push: what is in it, and what it refuses."""

from pathlib import Path

import cv2
import pytest

from marginface.report.force_figure import write_force_figure

CURVE = {"angle_rad": [0.1, 1.5, 3.0], "pull": [0.0, 1.0, -0.2], "push": [0.1, 0.0, 0.0]}
BAND = {"pull_low": [0.0, 0.9, -0.3], "pull_high": [0.1, 1.0, -0.1]}


def test_every_loss_has_its_panel_and_softmax_stands_behind(tmp_path: Path) -> None:
    curves = {"softmax": CURVE, "arcface": CURVE, "elasticface-arc": CURVE | BAND}
    write_force_figure(curves, tmp_path / "all.svg")
    svg = (tmp_path / "all.svg").read_text()
    for word in (*curves, "pull to the own class", "the same of softmax", "angle, degrees"):
        assert svg.count(f">{word}<") == 1
    write_force_figure({"arcface": CURVE}, tmp_path / "one.svg")
    assert "softmax" not in (tmp_path / "one.svg").read_text()


def test_a_picture_is_wider_than_high_and_has_both_colours(tmp_path: Path) -> None:
    write_force_figure(dict.fromkeys("abcde", CURVE), tmp_path / "five.png")
    picture = cv2.imread(str(tmp_path / "five.png"))
    assert picture is not None
    height, width = picture.shape[:2]
    assert width > 1.5 * height
    blue, red = picture[:, :, 0].astype(int), picture[:, :, 2].astype(int)
    assert ((blue - red) > 100).sum() > 500
    assert ((red - blue) > 100).sum() > 500


def test_other_formats_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in one of \.png, \.svg, \.pdf, got 'a\.gif'"):
        write_force_figure({"arcface": CURVE}, tmp_path / "a.gif")
