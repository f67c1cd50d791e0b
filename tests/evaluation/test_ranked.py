import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.evaluation.ranked import RankedPairs
from tests.evaluation import brute_force
from tests.evaluation.cases import MATED, NONMATED

TARGETS = {"fnmr_at_fmr_0.1": 0.1, "fnmr_at_fmr_0.5": 0.5}


@settings(max_examples=60)
@given(mated=MATED, nonmated=NONMATED, data=st.data())
def test_a_weight_of_k_is_the_pair_k_times(mated, nonmated, data):
    """The law of the whole file: weighting equals copying, metric by metric."""
    size = len(mated) + len(nonmated)
    counts = data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    # The appended pairs of both kinds have two scores each, so every metric is defined.
    for fixed in (len(mated) - 1, len(mated) - 2, size - 1, size - 2):
        counts[fixed] = max(1, counts[fixed])
    scores, flags = np.array([*mated, *nonmated]), np.arange(size) < len(mated)
    drawn = RankedPairs(scores, flags, None).measure(np.array([counts], np.float64), TARGETS)

    copies = np.repeat(scores, counts), np.repeat(flags, counts)
    m, n = copies[0][copies[1]].tolist(), copies[0][~copies[1]].tolist()
    assert drawn["eer"][0] == pytest.approx(brute_force.eer(m, n), abs=1e-12)
    assert drawn["auc"][0] == pytest.approx(brute_force.auc(m, n), abs=1e-12)
    assert drawn["d_prime"][0] == pytest.approx(brute_force.d_prime(m, n), abs=1e-9)
    for name, target in TARGETS.items():
        expected = brute_force.fnmr_at_fmr(m, n, target)
        assert drawn[name][0] == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60)
@given(mated=MATED, nonmated=NONMATED, data=st.data())
def test_accuracy_at_weight_one_is_the_plain_accuracy(mated, nonmated, data):
    size = len(mated) + len(nonmated)
    folds = data.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    folds[0], folds[-1] = 0, 1
    folds = np.unique(folds, return_inverse=True)[1]
    scores, flags = np.array([*mated, *nonmated]), np.arange(size) < len(mated)
    drawn = RankedPairs(scores, flags, folds).measure(np.ones((2, size)), {})
    expected, _ = brute_force.accuracy(scores.tolist(), flags.tolist(), folds.tolist())
    assert drawn["accuracy"] == pytest.approx([expected] * 2, abs=1e-12)


def test_accuracy_keeps_the_share_of_mated_pairs():
    # The mated pairs weigh 9 times as much; both kinds err in half of their pairs all the same.
    scores = np.array([0.9, 0.1, 0.9, 0.1] * 2)
    flags = np.array([True, True, False, False] * 2)
    folds = np.array([0] * 4 + [1] * 4)
    weights = np.where(flags, 9.0, 1.0)[None]
    assert RankedPairs(scores, flags, folds).measure(weights, {})["accuracy"] == [0.5]


def test_accuracy_fits_the_threshold_again_under_the_weights():
    # In the others, the pairs at 0.8 decide between accepting down to 0.7 and stopping at 0.9.
    scores = np.array([0.9, 0.8, 0.7, 0.1, 0.9, 0.75, 0.2])
    flags = np.array([True, False, True, False, True, True, False])
    folds = np.array([0, 0, 0, 0, 1, 1, 1])
    light, heavy = np.ones(7), np.array([1, 3, 1, 1, 1, 1, 1.0])
    light[2] = 3
    lax, strict = RankedPairs(scores, flags, folds).measure(np.stack([light, heavy]), {})[
        "accuracy"
    ]
    assert lax > strict


def test_a_metric_without_spread_is_nan_there_and_nowhere_else():
    ranked = RankedPairs(np.array([0.9, 0.5, 0.1]), np.array([True, True, False]), None)
    drawn = ranked.measure(np.array([[1.0, 0, 1], [1, 1, 1]]), {})
    assert np.isnan(drawn["d_prime"]).tolist() == [True, False]


def test_whole_counts_stay_whole():
    # 0.29 * 100 is a little below 29 in binary, and 29 false matches are allowed all the same.
    scores = np.append(np.arange(100.0), 70.5)
    ranked = RankedPairs(scores, np.arange(101) == 100, None)
    drawn = ranked.measure(np.ones((1, 101)), {"at 0.28": 0.28, "at 0.29": 0.29})
    assert (drawn["at 0.28"], drawn["at 0.29"]) == (1.0, 0.0)
