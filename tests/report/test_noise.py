import copy

import pytest

from marginface.report import comparison_page, comparison_table
from marginface.report.noise import corruption_words
from tests.report.made_up import comparison_record
from tests.report.test_page import Page


def share(value):
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def held(given, true):
    return {"pictures": 90, "nearest_is_given": share(given), "nearest_is_true": share(true)}


@pytest.fixture(scope="module")
def noisy():
    """A comparison in which CosFace believed more wrong labels than softmax did."""
    record = comparison_record()
    record["losses"] = {name: record["losses"][name] for name in ("softmax", "cosface")}
    for result in record["losses"].values():
        for figure in ("curve", "histogram", "margin"):
            del result[figure]
    record["data"]["train"]["corruption"] = {
        "label_noise": 0.3,
        "low_quality": 0.0,
        "seed": 7,
        "flipped": 1236,
        "damaged": 0,
    }
    for name, given in (("softmax", 0.2), ("cosface", 0.6)):
        for run in record["losses"][name]["runs"]:
            value = given + 0.01 * run["seed"]
            run["training_pictures"] = {"clean": held(0.9, 0.9), "flipped": held(value, 0.15)}
    return record


def test_the_page_says_what_became_of_the_wrong_labels(noisy):
    page = Page(comparison_page(noisy))
    sections = [attrs["id"] for attrs in page.all("section")]
    assert sections[-4:] == ["training", "noise", "worst", "made"]
    assert any(attrs["href"] == "#noise" for attrs in page.all("a"))
    words = "1,236 of 4,120 training pictures had a wrong label on purpose"
    assert page.text.count(words) == 3
    assert f"{words} , seed 7" in page.text or f"{words}, seed 7" in page.text
    right = "15.00 % [10.00, 20.00] 90.00 % [85.00, 95.00]"
    for row in (
        f"softmax 0 20.00 % [15.00, 25.00] {right}",
        f"softmax 1 21.00 % [16.00, 26.00] {right}",
        f"cosface 0 60.00 % [55.00, 65.00] {right}",
        f"cosface 1 61.00 % [56.00, 66.00] {right}",
    ):
        assert row in page.text


def test_a_comparison_without_wrong_labels_does_not_speak_of_them(noisy):
    record = copy.deepcopy(noisy)
    del record["data"]["train"]["corruption"]
    for result in record["losses"].values():
        for run in result["runs"]:  # as a run without noise is told of
            run["training_pictures"] = {"clean": held(0.9, 0.9)}
    text = Page(comparison_page(record)).text
    assert "Wrong labels" not in text
    assert "on purpose" not in text


def test_damaged_pictures_are_told_of_without_a_table(noisy):
    record = copy.deepcopy(noisy)
    record["data"]["train"]["corruption"].update(flipped=0, damaged=40)
    for result in record["losses"].values():
        for run in result["runs"]:
            run.pop("training_pictures", None)
    page = Page(comparison_page(record))
    assert "40 of 4,120 training pictures were damaged on purpose" in page.text
    assert "noise" not in [attrs["id"] for attrs in page.all("section")]


def test_the_table_of_the_terminal_tells_of_them(noisy):
    words = "1,236 of 4,120 training pictures had a wrong label on purpose"
    assert words in str(comparison_table(noisy).caption)
    assert "on purpose" not in str(comparison_table(comparison_record()).caption)


def test_both_kinds_are_counted_of_all_pictures():
    spoilt = {"flipped": 1, "damaged": 2000}
    assert corruption_words({"data": {"train": {"images": 4000, "corruption": spoilt}}}) == (
        "1 of 4,000 training pictures had a wrong label and 2,000 of 4,000 training pictures "
        "were damaged on purpose"
    )
    assert corruption_words({"data": {"train": {"images": 4000}}}) == ""
