"""The laws of every metric: brute force, order only, stated outcomes of the odd cases."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.errors import UndefinedRateError
from marginface.evaluation import auc, d_prime, eer, fnmr_at_fmr, ten_fold_accuracy
from tests.evaluation import brute_force
from tests.evaluation.cases import MATED, NONMATED


@dataclass(frozen=True)
class Metric:
    """A metric of (mated, nonmated), its slow twin, and what it says in the odd cases."""

    fast: object
    slow: object
    perfect: float  # one mated pair above one non-mated pair
    tied: float  # every score the same; None where that is refused
    reversed: float  # one mated pair below one non-mated pair
    reads_order_only: bool = True


def with_folds(measure):
    """Give each kind's scores to two folds by turns, and measure accuracy."""

    def accuracy(mated, nonmated):
        scores = [*mated, *nonmated]
        is_mated = [True] * len(mated) + [False] * len(nonmated)
        folds = [i % 2 for i in range(len(mated))] + [i % 2 for i in range(len(nonmated))]
        return measure(scores, is_mated, folds)

    return accuracy


METRICS = {
    "fnmr_at_fmr": Metric(
        fast=lambda m, n: fnmr_at_fmr(m, n, target_fmr=0.6).fnmr,
        slow=lambda m, n: brute_force.fnmr_at_fmr(m, n, 0.6),
        perfect=0.0,
        tied=1.0,
        reversed=1.0,
    ),
    "eer": Metric(fast=eer, slow=brute_force.eer, perfect=0.0, tied=0.5, reversed=1.0),
    "auc": Metric(fast=auc, slow=brute_force.auc, perfect=1.0, tied=0.5, reversed=0.0),
    "d_prime": Metric(
        fast=d_prime,
        slow=brute_force.d_prime,
        perfect=math.nan,
        tied=math.nan,
        reversed=math.nan,
        reads_order_only=False,
    ),
    "accuracy": Metric(
        fast=with_folds(lambda *columns: ten_fold_accuracy(*columns).mean),
        slow=with_folds(lambda *columns: brute_force.accuracy(*columns)[0]),
        perfect=1.0,
        tied=0.5,
        reversed=0.5,
    ),
}
EVERY = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
# fnmr_at_fmr at 0.6 needs two non-mated pairs, accuracy two folds: each kind is given twice.
TWICE = 2


@EVERY
@settings(max_examples=50)
@given(mated=MATED, nonmated=NONMATED)
def test_equals_brute_force(metric, mated, nonmated):
    assert metric.fast(mated, nonmated) == pytest.approx(metric.slow(mated, nonmated), abs=1e-9)


@EVERY
@settings(max_examples=30)
@given(mated=MATED, nonmated=NONMATED, random=st.randoms(use_true_random=False))
def test_shuffling_changes_nothing(metric, mated, nonmated, random):
    if metric is METRICS["accuracy"]:
        return  # its folds follow the place of a pair here; see the test below
    expected = metric.fast(mated, nonmated)
    random.shuffle(mated)
    random.shuffle(nonmated)
    assert metric.fast(mated, nonmated) == pytest.approx(expected, abs=1e-12)


@given(seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_shuffling_whole_pairs_changes_no_accuracy(seed):
    rng = np.random.default_rng(seed)
    scores, is_mated = rng.integers(0, 6, 40) / 4, np.arange(40) < 20
    folds, order = np.arange(40) % 5, rng.permutation(40)
    plain = ten_fold_accuracy(scores, is_mated, folds)
    shuffled = ten_fold_accuracy(scores[order], is_mated[order], folds[order])
    assert plain == shuffled


@EVERY
@settings(max_examples=30)
@given(mated=MATED, nonmated=NONMATED)
def test_an_increasing_map_keeps_the_rates(metric, mated, nonmated):
    if not metric.reads_order_only:
        return
    mapped = [[math.exp(3 * s) if s > -math.inf else s for s in part] for part in (mated, nonmated)]
    assert metric.fast(*mapped) == metric.fast(mated, nonmated)


@EVERY
def test_d_prime_alone_reads_the_scores(metric):
    mated, nonmated = [0.9, 0.5], [0.1, 0.2]
    cubed = [[s**3 for s in part] for part in (mated, nonmated)]
    keeps = metric.fast(*cubed) == metric.fast(mated, nonmated)
    assert keeps is metric.reads_order_only


@EVERY
def test_perfect_tied_and_reversed_scores(metric):
    for scores, stated in (
        ((0.9, 0.1), metric.perfect),
        ((0.5, 0.5), metric.tied),
        ((0.1, 0.9), metric.reversed),
    ):
        mated, nonmated = [scores[0]] * TWICE, [scores[1]] * TWICE
        if math.isnan(stated):
            with pytest.raises(UndefinedRateError):
                metric.fast(mated, nonmated)
        else:
            assert metric.fast(mated, nonmated) == stated


@EVERY
@pytest.mark.parametrize(("mated", "nonmated"), [([], [0.1, 0.2]), ([0.1, 0.2], []), ([], [])])
def test_no_pairs_are_refused(metric, mated, nonmated):
    with pytest.raises(UndefinedRateError, match="must hold"):
        metric.fast(mated, nonmated)


@EVERY
@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_nan_and_infinity_are_loud(metric, broken, side):
    scores = [[0.9, 0.8], [0.1, 0.2]]
    scores[side][1] = broken
    with pytest.raises(ValueError, match="holds 1 NaN or infinite scores"):
        metric.fast(*scores)


@EVERY
def test_inputs_are_unchanged(metric):
    mated, nonmated = np.array([0.9, 0.3, 0.8]), np.array([0.4, 0.1, 0.2])
    metric.fast(mated, nonmated)
    assert mated.tolist() == [0.9, 0.3, 0.8]
    assert nonmated.tolist() == [0.4, 0.1, 0.2]


@EVERY
def test_half_precision_scores_are_taken_as_they_are(metric):
    mated, nonmated = np.array([0.9, 0.3, 0.8]), np.array([0.4, 0.1, 0.2])
    as_float32 = metric.fast(mated.astype(np.float32), nonmated.astype(np.float32))
    assert as_float32 == pytest.approx(metric.fast(mated, nonmated), rel=1e-6)
