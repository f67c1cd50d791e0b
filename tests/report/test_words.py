import pytest

from marginface.report.words import difference_words, meaning, ordered_metrics, title, verdict

METRICS = ["accuracy", "eer", "auc", "d_prime", "fnmr_at_fmr_0.1", "fnmr_at_fmr_0.001"]


def test_metrics_stand_in_reading_order():
    assert ordered_metrics(reversed(METRICS)) == METRICS
    assert ordered_metrics(["made_up", "eer"]) == ["eer", "made_up"]


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_has_a_title_and_a_meaning(metric):
    assert title(metric) != metric
    assert len(meaning(metric)) > 60


@pytest.mark.parametrize(
    ("metric", "value", "is_shown", "said"),
    [
        ("accuracy", 0.1, True, "better"),
        ("accuracy", -0.1, True, "worse"),
        ("eer", 0.1, True, "worse"),
        ("fnmr_at_fmr_0.1", -0.1, True, "better"),
        ("eer", -0.1, False, "no difference shown"),
    ],
)
def test_verdict_knows_which_way_is_better(metric, value, is_shown, said):
    assert verdict(metric, {"value": value, "is_shown": is_shown}) == said


def test_points_and_fractions():
    ends = {"value": 0.0123, "low": -0.001, "high": 0.02}
    assert difference_words("accuracy", ends) == "+1.23 [−0.10, +2.00]"
    assert difference_words("auc", ends) == "+0.012 [−0.001, +0.020]"
