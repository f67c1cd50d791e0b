import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginface.errors import UndefinedRateError
from marginface.evaluation import fnmr_at_fmr, freeze_threshold, rates_at
from marginface.evaluation.thresholds import WeightedRefusal
from tests.evaluation import brute_force
from tests.evaluation.cases import MATED, NONMATED


def test_frozen_on_one_set_and_applied_to_another() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(2, 1, 500), rng.normal(0, 1, 4000)]).round(2)
    is_mated = np.arange(4500) < 500
    frozen = freeze_threshold(scores, is_mated, fmr=0.01)
    assert frozen.false_matches == sum(score >= frozen.value for score in scores[500:])
    assert frozen.fmr == frozen.false_matches / 4000 <= 0.01
    # One step laxer, at the next lower score, and the target is exceeded.
    laxer = max(score for score in scores[500:] if score < frozen.value)
    assert np.mean(scores[500:] >= laxer) > 0.01
    assert (frozen.target_fmr, frozen.nonmated_pairs, frozen.caution) == (0.01, 4000, "")
    other, flags = rng.normal(1, 1, 300), np.arange(300) % 3 == 0
    fmr, fnmr = rates_at(other, flags, frozen.value)
    expected = brute_force.rates(other[flags], other[~flags], frozen.value)
    assert (fmr, fnmr) == pytest.approx([float(rate) for rate in expected])


def test_the_rule_of_3_refuses_and_the_rule_of_30_warns() -> None:
    rng = np.random.default_rng(1)
    for nonmated, is_enough in ((2999, False), (3000, True)):
        scores, flags = rng.normal(size=nonmated + 1), np.arange(nonmated + 1) == 0
        if is_enough:
            frozen = freeze_threshold(scores, flags, fmr=0.001)
            assert frozen.false_matches == 3
            assert "rule of 30 asks for 30,000 pairs" in frozen.caution
        else:
            with pytest.raises(UndefinedRateError, match=r"at least 3,000 .*rule of 3.*got 2,999"):
                freeze_threshold(scores, flags, fmr=0.001)
    with pytest.raises(ValueError, match="target_fmr must be a fraction"):
        freeze_threshold(scores, flags, fmr=0.0)


@given(MATED, NONMATED, st.sampled_from([0.1, 0.25, 0.3, 0.5]), st.integers(0, 10**6))
def test_a_weighted_refusal_is_that_of_repeated_pairs(
    mated: list[float], nonmated: list[float], target: float, seed: int
) -> None:
    weights = np.random.default_rng(seed).integers(0, 4, len(nonmated))
    weights[-1] = 12  # enough for the smallest target
    repeated = np.repeat(nonmated, weights)
    refused = WeightedRefusal(np.array(nonmated), target).measure(weights[None].astype(float))[0]
    point = fnmr_at_fmr(mated, repeated, target_fmr=target)
    assert np.mean(~(np.array(mated) > refused)) == point.fnmr
    assert np.mean(repeated > refused) == point.fmr
