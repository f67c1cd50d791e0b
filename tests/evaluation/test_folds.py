import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginface.errors import UndefinedRateError
from marginface.evaluation import ten_fold_accuracy
from marginface.evaluation.folds import best_threshold
from tests.evaluation import brute_force
from tests.evaluation.cases import SCORE

ROW = st.tuples(SCORE, st.booleans(), st.integers(0, 3))
# Two folds and both kinds are always there.
ROWS = st.lists(ROW, min_size=1, max_size=30).map(
    lambda rows: [*rows, (0.5, True, 0), (0.5, False, 1)]
)


@given(rows=ROWS)
def test_equals_brute_force(rows):
    scores, is_mated, folds = map(list, zip(*rows, strict=True))
    result = ten_fold_accuracy(scores, is_mated, folds)
    mean, accuracies = brute_force.accuracy(scores, is_mated, folds)
    assert result.accuracies == pytest.approx(accuracies, abs=1e-12)
    assert result.mean == pytest.approx(mean, abs=1e-12)
    assert result.std == pytest.approx(np.std(accuracies), abs=1e-12)


def test_the_threshold_never_sees_its_own_fold():
    # Fold 0 alone would choose 0.2; the others say 0.8, at which its mated pair is lost.
    scores = [0.2, 0.1, 0.8, 0.7, 0.8, 0.7]
    result = ten_fold_accuracy(scores, [1, 0, 1, 0, 1, 0], [0, 0, 1, 1, 2, 2])
    assert result.thresholds[0] == 0.8
    assert result.accuracies[0] == 0.5


def test_ties_take_the_highest_threshold():
    # Accepting the best or the best three leaves one error each.
    scores, is_mated = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
    assert best_threshold(scores, is_mated) == 0.9


def test_accepting_nothing_may_be_best():
    assert best_threshold(np.array([0.9, 0.1]), np.array([False, False])) == np.inf


def test_a_failed_pair_is_never_accepted():
    # All would be right if the failed mated pair could be accepted.
    scores = [0.9, -np.inf, 0.9, -np.inf]
    assert ten_fold_accuracy(scores, [1, 1, 1, 0], [0, 0, 1, 1]).accuracies == (0.5, 1.0)


def test_folds_may_have_names():
    scores, is_mated = [0.9, 0.1, 0.8, 0.2], [1, 0, 1, 0]
    assert (
        ten_fold_accuracy(scores, is_mated, ["b", "b", "a", "a"]).accuracies
        == ten_fold_accuracy(scores, is_mated, [1, 1, 0, 0]).accuracies
    )


def test_one_fold_is_refused():
    with pytest.raises(UndefinedRateError, match="folds must name at least 2 folds, got 1"):
        ten_fold_accuracy([0.9, 0.1], [1, 0], [3, 3])


def test_shapes_are_named():
    with pytest.raises(ValueError, match=r"folds must have shape \(2,\), got \(3,\)"):
        ten_fold_accuracy([0.9, 0.1], [1, 0], [1, 2, 3])
