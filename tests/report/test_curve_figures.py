import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from marginface.report import curve_figures as draw
from marginface.report import systems_of
from marginface.report.curve_figures import Line
from marginface.report.drawing import looks_of
from marginface.report.lines import (
    cmc_lines,
    comparison_lines,
    distractor_lines,
    open_set_lines,
    rate_lines,
)
from tests.report import made_up

CURVE = Line(name="curve", x=[0.0, 0.01, 1.0], y=[1.0, 0.2, 0.0], is_curve=True)
POINTS = Line(name="points", x=[1e-6, 0.1], y=[0.3, 0.0], low=[0.2, 0.0], high=[0.5, 0.01])
RATES = (draw.det_figure, draw.open_set_figure, draw.roc_figure)


def searched(record):
    return [s for s in systems_of({"r": record}) if s.kind == "identification"]


def checked(svg):
    """The words of a figure that is well-formed and in which every number is one."""
    root = ElementTree.fromstring(svg)
    assert not re.search(r"\b(nan|inf)\b", svg, flags=re.IGNORECASE)
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", svg)
    assert root.attrib["role"] == "img"
    assert len(root.attrib["aria-label"]) > 40
    return " ".join(root.itertext())


@pytest.mark.parametrize("figure", RATES)
def test_rates_have_the_words_of_the_standard_on_their_axes(figure):
    words = checked(figure([CURVE, POINTS]))
    for axis in ("positive", "negative") if figure is draw.open_set_figure else ("match rate",):
        assert axis in words
    assert "curve" in words
    assert "points" in words


@pytest.mark.parametrize("figure", RATES)
@pytest.mark.parametrize(
    "line",
    [
        Line(name="perfect", x=[0.0, 0.0, 1.0], y=[1.0, 0.0, 0.0], is_curve=True),
        Line(name="all wrong", x=[0.5], y=[1.0], low=[1.0], high=[1.0]),
        Line(name="one at nought", x=[0.0], y=[0.0]),
        Line(name="one in a million", x=[1e-6], y=[0.03], low=[0.02], high=[0.05]),
    ],
)
def test_extreme_rates_can_be_drawn(figure, line):
    checked(figure([line]))


def test_the_logarithmic_axis_reaches_the_strictest_point():
    assert "0.0001" in checked(draw.roc_figure([POINTS]))


def test_cmc_and_distractors_show_their_ranks_and_sizes():
    words = checked(draw.cmc_figure(cmc_lines(searched(made_up.gallery_record()))))
    assert "rank" in words
    assert "true positive identification rate" in words
    words = checked(draw.distractor_figure(distractor_lines(searched(made_up.megaface_record()))))
    for said in ("1,000,000", "rank 1", "rank 10", "distractors"):
        assert said in words


@pytest.mark.parametrize("rates", [[0.2, 0.1], [0.0, 0.0]])
def test_rejection_is_drawn_beside_random_and_oracle(rates):
    part = {"shares": [0.0, 0.5], "rates": rates, "oracle": [0.0, 0.0], "random": rates[0]}
    words = checked(draw.reject_figure("sface", {"fnmr": part, "fmr": part}))
    for said in ("random", "oracle", "refused, percent", "FNMR", "FMR"):
        assert said in words


def test_a_record_without_a_curve_gives_the_points_of_its_metrics():
    record = {
        "metrics": {
            "eer": {"value": 0.1, "low": 0.0, "high": 0.2},
            "fnmr_at_fmr_0.001": {"value": 0.3, "low": 0.2, "high": 0.4},
            "fnmr_at_fmr_0.1": {"value": 0.1, "low": 0.05, "high": 0.2},
        },
        "pairs": 10,
    }
    (line,) = rate_lines(systems_of({"r": record}))
    assert (line.x, line.y, line.is_curve) == ([0.1, 0.001], [0.1, 0.3], False)
    assert (line.low, line.high) == ([0.05, 0.2], [0.2, 0.4])
    (line,) = rate_lines(systems_of({"r": record | {"curve": {"fmr": [0.0], "fnmr": [1.0]}}}))
    assert line.is_curve


def test_the_rule_without_fpir_is_not_drawn_and_curves_stand_for_points():
    record = made_up.ijb_record()
    del record["identification"]["open_set_curves"]
    names = [line.name for line in open_set_lines(searched(record))]
    assert [name.rsplit(", ", 1)[1] for name in names] == ["rule iso", "rule newer"]
    curve = {"gallery": "G1", "fpir": [0.0, 1.0], "fnir": [1.0, 0.0]}
    record["identification"]["open_set_curves"] = [curve]
    lines = open_set_lines(searched(record))
    assert [(line.name, line.is_curve) for line in lines] == [("r, gallery G1", True)]
    checked(draw.open_set_figure(lines))


def test_lines_differ_in_dash_and_colour_from_their_neighbours():
    looks = looks_of(30)
    assert len(set(looks)) == 30
    for one, next_one in pairwise(looks):
        assert one[0] != next_one[0]
        assert one[1] != next_one[1]


def test_losses_without_a_curve_are_left_out():
    losses = {"softmax": {"curve": {"fmr": [0.0], "fnmr": [1.0]}, "metrics": {}}, "sface": {}}
    lines = comparison_lines({"baseline": "softmax", "losses": losses})
    assert [line.name for line in lines] == ["softmax"]


@pytest.mark.parametrize("name", ["sface", "mine.npy, gallery G1", "a model with a long name, all"])
def test_no_name_of_the_legend_is_cut(name):
    lines = [Line(name=f"{name} {n}", x=[0.1], y=[0.1]) for n in range(6)]
    svg = draw.det_figure(lines)
    width = float(re.search(r'viewBox="0 0 ([\d.]+) ', svg)[1])
    found = re.findall(r'font-size: ([\d.]+)px[^>]*? x="([\d.]+)"[^>]*>([^<]*)</text>', svg)
    starts = {words: (float(size), float(x)) for size, x, words in found if words.startswith(name)}
    assert len(starts) == 6
    for words, (size, start) in starts.items():
        # Letters of the figure's face are 0.53 of its size wide on average.
        assert start + 0.53 * size * len(words) <= width
