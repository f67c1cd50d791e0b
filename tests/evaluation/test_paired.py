from dataclasses import replace

import numpy as np
import pytest

from marginface.evaluation import PairedDifference, compare_pairs, compare_records, judge_pairs
from tests.evaluation.cases import people_pairs, people_scores

RNG = np.random.default_rng(21)
FIRST, SECOND, FOLDS = people_pairs(RNG)
MATED = FIRST == SECOND
SCORES = people_scores(RNG, FIRST, SECOND)
PAIRS = {
    "first_identity": FIRST,
    "second_identity": SECOND,
    "folds": FOLDS,
    "fmr_targets": (0.1,),
    "resamples": 200,
}


def noisy(noise):
    """Scores of another model, the same in whatever order tests run."""
    return SCORES + noise * np.random.default_rng(22).normal(size=SCORES.size)


def test_a_model_does_not_differ_from_itself():
    for difference in compare_pairs(SCORES, SCORES, MATED, **PAIRS).values():
        assert difference.as_dict() == {"value": 0, "low": 0, "high": 0, "is_shown": False}


def test_the_sign_is_a_minus_b():
    better = SCORES + 2.0 * MATED
    differences = compare_pairs(better, SCORES, MATED, **PAIRS)
    assert differences["auc"].low > 0
    assert differences["fnmr_at_fmr_0.1"].high < 0
    assert all(differences[name].is_shown for name in ("auc", "eer", "d_prime", "accuracy"))


def test_swapping_the_models_mirrors_the_differences():
    other = noisy(0.3)
    there = compare_pairs(other, SCORES, MATED, **PAIRS)
    back = compare_pairs(SCORES, other, MATED, **PAIRS)
    for name in there:
        mirrored = (-back[name].value, -back[name].high, -back[name].low)
        assert (there[name].value, there[name].low, there[name].high) == pytest.approx(mirrored)


def test_pairing_makes_the_interval_narrower_than_either():
    # What makes people hard is common to both models and cancels out.
    other = noisy(0.1)
    difference = compare_pairs(other, SCORES, MATED, **PAIRS)["auc"]
    alone = judge_pairs(SCORES, MATED, **PAIRS).metrics["auc"]
    assert difference.high - difference.low < 0.5 * (alone.high - alone.low)


def test_it_is_the_same_as_comparing_the_records():
    other = noisy(0.3)
    records = [judge_pairs(scores, MATED, **PAIRS) for scores in (other, SCORES)]
    assert compare_records(*records) == compare_pairs(other, SCORES, MATED, **PAIRS)


def test_failed_pairs_may_differ_between_the_models():
    failed = MATED & (np.arange(MATED.size) % 4 == 0)
    none = np.zeros_like(failed)
    same = compare_pairs(SCORES, SCORES, MATED, failed=failed, **PAIRS)
    assert same["eer"].value == 0
    worse = compare_pairs(SCORES, SCORES, MATED, failed=failed, failed_b=none, **PAIRS)
    assert worse["fnmr_at_fmr_0.1"].low > 0


def test_only_common_metrics_are_compared():
    options = {**PAIRS, "fmr_targets": (0.1, 0.001)}
    assert "fnmr_at_fmr_0.001" not in compare_pairs(SCORES, SCORES, MATED, **options)


def test_a_metric_no_draw_measures_of_both_is_left_out():
    record = judge_pairs(SCORES, MATED, **PAIRS)
    drawn = record.drawn | {"d_prime": np.full(200, np.nan)}
    differences = compare_records(record, replace(record, drawn=drawn))
    assert differences.keys() == record.metrics.keys() - {"d_prime"}


@pytest.mark.parametrize(
    ("low", "high", "is_shown"),
    [(-0.1, 0.1, False), (0.0, 0.1, False), (-0.1, 0.0, False), (0.01, 0.1, True), (-2, -1, True)],
)
def test_shown_means_zero_is_left_out(low, high, is_shown):
    assert PairedDifference(value=0.0, low=low, high=high).is_shown is is_shown


@pytest.mark.slow
def test_equal_models_are_rarely_shown_to_differ():
    """Two models with independent noise on the same people: at most about one in twenty."""
    shown = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        first, second, _ = people_pairs(rng, identities=60, mated=60, nonmated=60)
        base = people_scores(rng, first, second)
        a, b = (base + 0.5 * rng.normal(size=base.size) for _ in range(2))
        difference = compare_pairs(
            a,
            b,
            first == second,
            first_identity=first,
            second_identity=second,
            fmr_targets=(),
            resamples=300,
        )
        shown += difference["auc"].is_shown
    assert shown <= 0.09 * 150
