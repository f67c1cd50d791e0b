import numpy as np
import pytest
from hypothesis import given

from marginface.evaluation import det_curve, score_histogram, thin, worst_errors
from tests.evaluation import brute_force
from tests.evaluation.cases import MATED, NONMATED


@given(mated=MATED, nonmated=NONMATED)
def test_det_curve_equals_brute_force(mated, nonmated):
    curve = det_curve(mated, nonmated)
    expected = [(float(a), float(b)) for a, b in brute_force.curve(mated, nonmated)]
    assert list(zip(curve.fmr.tolist(), curve.fnmr.tolist(), strict=True)) == expected
    assert curve.thresholds.tolist() == brute_force.thresholds([*mated, *nonmated])


def big_curve():
    rng = np.random.default_rng(5)
    return det_curve(rng.normal(2, 1, 2000), rng.normal(0, 1, 3000))


def test_thin_keeps_ends_and_invents_nothing():
    curve = big_curve()
    few = thin(curve, points=100)
    assert 50 < few.fmr.size <= 100
    assert (few.fmr[0], few.fnmr[0], few.fmr[-1], few.fnmr[-1]) == (0, 1, 1, 0)
    points = set(zip(curve.thresholds, curve.fmr, curve.fnmr, strict=True))
    assert set(zip(few.thresholds, few.fmr, few.fnmr, strict=True)) <= points
    assert np.all(np.diff(few.fmr) >= 0)


def test_thin_stays_close_to_the_curve():
    curve = big_curve()
    few = thin(curve, points=200)
    drawn = np.interp(np.log10(curve.fmr + 1e-6), np.log10(few.fmr + 1e-6), few.fnmr)
    assert np.abs(drawn - curve.fnmr)[curve.fmr > 0].max() < 0.03


def test_thin_leaves_short_curves_alone_and_needs_two_points():
    curve = det_curve([0.9], [0.1])
    assert thin(curve) is curve
    with pytest.raises(ValueError, match="points must be at least 2, got 1"):
        thin(curve, points=1)


def test_histogram_counts_each_kind_and_skips_failed_pairs():
    counts = score_histogram([0.0, 0.4, 1.0, -np.inf], [0, 1, 1, 1], bins=2)
    assert counts["edges"] == [0.0, 0.5, 1.0]
    assert counts["mated"] == [1.0, 1.0]
    assert counts["nonmated"] == [1.0, 0.0]


def test_worst_errors_are_worst_first():
    scores = [0.9, 0.2, 0.1, -np.inf, 0.3, 0.8, 0.7]
    is_mated = [1, 1, 1, 1, 0, 0, 0]
    assert worst_errors(scores, is_mated, count=4).tolist() == [2, 1, 5, 6]
