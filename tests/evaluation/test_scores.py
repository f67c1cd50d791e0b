import numpy as np
import pytest

from marginface.errors import UndefinedRateError
from marginface.evaluation.scores import check_flags, check_scores, split_scores, with_failures


def test_nan_is_named_and_counted():
    message = r"^mated holds 2 NaN or infinite scores of 3; name pairs without a score in `failed`$"
    with pytest.raises(ValueError, match=message):
        check_scores("mated", [0.1, np.nan, np.inf])


def test_minus_infinity_is_a_failed_pair():
    assert check_scores("mated", [0.1, -np.inf])[1] == -np.inf


def test_wrong_shape():
    with pytest.raises(ValueError, match=r"mated must hold one score per pair, shape \(n,\), got"):
        check_scores("mated", [[0.1], [0.2]])


def test_no_scores():
    with pytest.raises(UndefinedRateError, match="mated must hold at least one score, got none"):
        check_scores("mated", [])


def test_failures_hide_whatever_the_score_is():
    runs = with_failures("scores", [0.5, np.nan], [False, True])
    np.testing.assert_array_equal(runs, [[0.5, -np.inf]])


def test_failures_may_differ_between_runs():
    runs = with_failures("scores", [[0.5, 0.1], [0.5, 0.1]], [[False, True], [False, False]])
    np.testing.assert_array_equal(runs, [[0.5, -np.inf], [0.5, 0.1]])


def test_failures_do_not_hide_a_nan_elsewhere():
    with pytest.raises(ValueError, match="holds 1 NaN"):
        with_failures("scores", [np.nan, np.nan], [False, True])


@pytest.mark.parametrize("failed", [[0, 1], [True], [[True, False]] * 3])
def test_failed_must_be_a_mask_of_the_pairs(failed):
    with pytest.raises(ValueError, match=r"failed must be bool of shape \(2,\), got"):
        with_failures("scores", [0.5, 0.1], failed)


def test_three_axes_are_refused():
    with pytest.raises(ValueError, match=r"must have shape \(pairs,\) or \(runs, pairs\)"):
        with_failures("scores", np.zeros((1, 2, 3)), None)


def test_flags_are_zero_or_one():
    assert check_flags("is_mated", [0, 1], 2).tolist() == [False, True]
    with pytest.raises(ValueError, match=r"is_mated must hold True and False, got \[0, 2\]"):
        check_flags("is_mated", [0, 2], 2)
    with pytest.raises(ValueError, match=r"is_mated must have shape \(3,\), got \(2,\)"):
        check_flags("is_mated", [0, 1], 3)


@pytest.mark.parametrize(("flag", "missing"), [(True, "non-mated"), (False, "mated")])
def test_both_kinds_are_needed(flag, missing):
    with pytest.raises(UndefinedRateError, match=f"got no {missing} pair among 2"):
        split_scores(np.array([0.1, 0.2]), np.array([flag, flag]))
