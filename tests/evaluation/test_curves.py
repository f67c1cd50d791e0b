import numpy as np
import pytest
from hypothesis import given

from marginface.errors import UndefinedRateError
from marginface.evaluation import curves, det_curve, score_histogram, thin, worst_errors
from marginface.evaluation.curves import drawn_scores, outline, way_along
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


def height(curve, across):
    """FNMR of the line at each FMR, drawn as steps: the last point at or before it."""
    return curve.fnmr[np.searchsorted(curve.fmr, across, side="right") - 1]


@given(mated=MATED, nonmated=NONMATED)
def test_outline_draws_the_same_line_with_fewer_points(mated, nonmated):
    curve, line = det_curve(mated, nonmated), outline(mated, nonmated)
    points = set(zip(curve.thresholds, curve.fmr, curve.fnmr, strict=True))
    assert set(zip(line.thresholds, line.fmr, line.fnmr, strict=True)) <= points
    assert len(line.fmr) <= len(set(mated)) + 2
    assert (line.fmr[-1], line.fnmr[-1]) == (curve.fmr[-1], curve.fnmr[-1])
    np.testing.assert_array_equal(height(line, curve.fmr), height(curve, curve.fmr))


@pytest.mark.parametrize("seed", range(5))
def test_thin_drops_only_what_lies_on_the_way(seed):
    rng = np.random.default_rng(seed)
    # Heavy tails at both ends: few false matches decide the left edge, few misses the right one.
    mated, nonmated = 3 + rng.standard_t(2, 3000), rng.standard_t(2, 4000)
    curve = det_curve(mated, nonmated)
    few = thin(curve, points=80)
    walked = way_along(curve)
    kept = np.flatnonzero(np.isin(curve.thresholds, few.thresholds))
    before = kept[np.searchsorted(kept, np.arange(walked.size), side="right") - 1]
    assert (walked - walked[before]).max() < walked[-1] / 79
    # Three axes of one each make the way, so none of them is passed over faster than this.
    assert walked[-1] == pytest.approx(3)
    assert (curve.fnmr[before] - curve.fnmr).max() < 3 / 79


def test_many_scores_are_walked_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    is_mated = rng.random(1000) < 0.3
    scores = (rng.normal(size=1000) + 2 * is_mated).astype(np.float32).round(1)
    scores[::17] = -np.inf
    whole = drawn_scores(scores, is_mated)
    assert whole["histogram"] == score_histogram(scores, is_mated)
    assert whole["curve"] == outline(scores[is_mated], scores[~is_mated]).as_dict()
    monkeypatch.setattr(curves, "BLOCK", 7)
    assert drawn_scores(scores, is_mated) == whole
    with pytest.raises(ValueError, match="NaN"):
        drawn_scores(np.where(scores == scores.max(), np.nan, scores), is_mated)
    for one_kind in (np.zeros(1000, bool), np.ones(1000, bool)):
        with pytest.raises(UndefinedRateError, match="at least one score"):
            drawn_scores(scores, one_kind)


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
