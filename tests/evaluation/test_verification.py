import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from marginface.errors import UndefinedRateError
from marginface.evaluation import auc, d_prime, eer, fnmr_at_fmr
from marginface.evaluation.verification import least_pairs, sweep
from tests.evaluation import brute_force
from tests.evaluation.cases import MATED, NONMATED

TARGETS = [0.05, 0.1, 0.25, 0.29, 0.5, 0.99]


@given(mated=MATED, nonmated=NONMATED, target=st.sampled_from(TARGETS))
def test_fnmr_equals_brute_force_and_fmr_keeps_its_promise(mated, nonmated, target):
    if math.floor(target * len(nonmated) + 1e-9) == 0:
        with pytest.raises(UndefinedRateError):
            fnmr_at_fmr(mated, nonmated, target_fmr=target)
        return
    point = fnmr_at_fmr(mated, nonmated, target_fmr=target)
    assert point.fmr <= target
    assert point.fnmr == brute_force.fnmr_at_fmr(mated, nonmated, target)
    # The rates are those at the threshold that is handed out.
    assert (point.fmr, point.fnmr) == tuple(
        float(rate) for rate in brute_force.rates(mated, nonmated, point.threshold)
    )
    assert (point.mated_pairs, point.nonmated_pairs) == (len(mated), len(nonmated))


def test_tied_nonmated_scores_are_refused_together():
    point = fnmr_at_fmr([0.5, 0.9], [0.5, 0.5, 0.1, 0.1], target_fmr=0.25)
    assert (point.fmr, point.fnmr) == (0.0, 0.5)


def test_the_threshold_is_the_lowest_allowed():
    point = fnmr_at_fmr([0.9], [0.1, 0.2, 0.3, 0.4], target_fmr=0.25)
    assert point.fmr == 0.25
    assert 0.3 < point.threshold < 0.3 + 1e-9


def test_whole_counts_stay_whole():
    # 0.29 * 100 is a little below 29 in binary.
    point = fnmr_at_fmr([0.5], np.arange(100), target_fmr=0.29)
    assert point.fmr == 0.29


def test_too_few_pairs_for_the_target():
    message = (
        r"^FMR 1e-06 cannot be seen in 3,000 non-mated scores, where one false match is 0.0003; "
        r"give at least 1,000,000$"
    )
    with pytest.raises(UndefinedRateError, match=message):
        fnmr_at_fmr([0.5], np.arange(3000), target_fmr=1e-6)


def test_exactly_enough_pairs_do():
    assert fnmr_at_fmr([2000.0], np.arange(1000), target_fmr=0.001).fmr == 0.001
    with pytest.raises(UndefinedRateError):
        fnmr_at_fmr([2000.0], np.arange(999), target_fmr=0.001)


@pytest.mark.parametrize("target", [0, 1, -0.1, 5, math.nan])
def test_target_is_a_fraction(target):
    with pytest.raises(ValueError, match=r"target_fmr must be a fraction in \(0, 1\), got"):
        fnmr_at_fmr([0.5], [0.1, 0.2], target_fmr=target)


def test_least_pairs_do_not_overshoot():
    # 1 / 0.001 and 30 / 0.001 must not become 1,001 and 30,001 by rounding.
    assert [least_pairs(t) for t in (0.1, 0.01, 1e-3, 1e-4, 1e-5)] == [10, 100, 1000, 10**4, 10**5]
    assert least_pairs(0.3) == 4


def test_eer_takes_the_lower_of_two_equally_close():
    # At 0.5 both rates are 1/2 and 0; at 0.4 they are 1/2 and 1: the gaps are equal.
    assert eer([0.6, 0.4], [0.5]) == brute_force.eer([0.6, 0.4], [0.5]) == 0.25


def test_eer_when_the_rates_never_cross():
    # Two of three mated pairs failed: even the laxest threshold leaves FNMR 2/3, at FMR 0.5.
    value = eer([-np.inf, -np.inf, 0.5], [0.6, -np.inf])
    assert value == pytest.approx((2 / 3 + 1 / 2) / 2)


@given(mated=MATED, nonmated=NONMATED)
def test_auc_equals_scikit_learn(mated, nonmated):
    scores = np.array([*mated, *nonmated])
    scores[np.isinf(scores)] = -9  # scikit-learn takes finite scores only; the order is the same
    labels = [1] * len(mated) + [0] * len(nonmated)
    assert auc(mated, nonmated) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_d_prime_of_known_clouds_keeps_its_sign():
    assert d_prime([3.0, 5.0], [-1.0, 1.0]) == 4.0
    assert d_prime([-1.0, 1.0], [3.0, 5.0]) == -4.0
    # Variances 4 and 0: the pooled spread is sqrt(2).
    assert d_prime([2.0, 6.0], [0.0]) == pytest.approx(4 / math.sqrt(2))


def test_d_prime_without_spread_is_refused():
    with pytest.raises(UndefinedRateError, match="d' needs scores that differ"):
        d_prime([0.5, 0.5], [0.1])


def test_d_prime_leaves_failed_pairs_out_but_needs_one():
    assert d_prime([3.0, 5.0, -np.inf], [-1.0, 1.0]) == 4.0
    with pytest.raises(UndefinedRateError, match="d' needs mated scores, got 1 failed pairs"):
        d_prime([-np.inf], [0.1, 0.2])


def test_sweep_starts_where_nothing_matches():
    counts = sweep([0.9, 0.4, -np.inf], [0.4, 0.1])
    assert counts.thresholds.tolist() == [np.inf, 0.9, 0.4, 0.1]
    assert counts.false_matches.tolist() == [0, 0, 1, 2]
    # The failed mated pair is a non-match even at the laxest threshold.
    assert counts.false_nonmatches.tolist() == [3, 2, 1, 1]


def test_a_score_on_the_threshold_matches():
    just_above = np.nextafter(0.3, 1)
    point = fnmr_at_fmr([just_above, 0.3], [0.1, 0.2, 0.3, 0.4], target_fmr=0.25)
    assert point.threshold == just_above
    assert point.fnmr == 0.5
