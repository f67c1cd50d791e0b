import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginface.errors import UndefinedRateError
from marginface.evaluation import error_versus_reject, fnmr_at_fmr, oracle_curve, reject_curve
from marginface.evaluation.bootstrap import IdentityBootstrap
from marginface.evaluation.reject_curves import MAX_SHARE
from tests.evaluation.cases import people_pairs, people_scores

PAIRS = st.lists(
    st.tuples(st.booleans(), st.sampled_from([-1.0, 0.0, 0.5, 2.0, 9.0])), min_size=1, max_size=30
)


def rate_by_hand(is_error: list[bool], quality: list[float], share: float) -> float:
    """Refuse whole groups of equal quality, lowest first, as long as they fit into the share."""
    kept = list(range(len(quality)))
    for level in sorted(set(quality)):
        left = [pair for pair in kept if quality[pair] > level]
        if not left or len(quality) - len(left) > share * len(quality) + 1e-9:
            break
        kept = left
    return sum(is_error[pair] for pair in kept) / len(kept)


def area_by_hand(is_error: list[bool], quality: list[float]) -> float:
    """Sum the steps: the curve changes only at multiples of one pair."""
    count, area = len(quality), 0.0
    for step in range(count):
        width = min((step + 1) / count, MAX_SHARE) - min(step / count, MAX_SHARE)
        area += width * rate_by_hand(is_error, quality, step / count)
    return area / MAX_SHARE


@given(PAIRS, st.floats(0, MAX_SHARE))
def test_curve_and_area_by_hand(pairs: list[tuple[bool, float]], share: float) -> None:
    is_error, quality = (list(column) for column in zip(*pairs, strict=True))
    curve = reject_curve(is_error, quality)
    shares = [share, *(step / len(pairs) for step in range(len(pairs)))]
    expected = [rate_by_hand(is_error, quality, each) for each in shares]
    np.testing.assert_allclose(curve.at(shares), expected, atol=1e-12)
    assert curve.area() == pytest.approx(area_by_hand(is_error, quality), abs=1e-12)
    # The oracle is the same curve for a quality that knows the errors, without ties.
    knowing = [place + (0 if wrong else 100) for place, wrong in enumerate(is_error)]
    oracle = oracle_curve(sum(is_error), len(pairs))
    best = reject_curve(is_error, knowing)
    np.testing.assert_allclose(oracle.rates, best.rates, atol=1e-12)
    np.testing.assert_allclose(oracle.shares, best.shares, atol=1e-12)
    assert oracle.area() <= curve.area() + 1e-12


def test_random_is_the_expected_value() -> None:
    rng = np.random.default_rng(0)
    is_error = np.arange(50) < 10
    areas = [reject_curve(is_error, rng.permutation(50)).area() for _ in range(1000)]
    assert np.mean(areas) == pytest.approx(0.2, abs=4 * np.std(areas) / math.sqrt(1000))
    constant = reject_curve(is_error, np.ones(50))
    assert constant.area() == pytest.approx(0.2)
    assert constant.rates.tolist() == [0.2]


def world(seed: int = 0, helps: float = 1.0) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    first, second, _ = people_pairs(rng, identities=30, folds=3, mated=60, nonmated=60)
    scores = people_scores(rng, first, second)
    # Mated pairs of low score tend to be of low quality.
    quality = (helps * scores + rng.normal(size=scores.size)).round(1)
    return {
        "scores": scores.round(2),
        "is_mated": first == second,
        "quality": quality,
        "first_identity": first,
        "second_identity": second,
    }


def test_the_threshold_is_that_of_all_pairs_and_stays() -> None:
    pairs = world()
    record = error_versus_reject(**pairs, target_fmr=0.1, resamples=20)
    scores, flags, quality = pairs["scores"], pairs["is_mated"], pairs["quality"]
    point = fnmr_at_fmr(scores[flags], scores[~flags], target_fmr=0.1)
    assert record.threshold == point.threshold
    assert (record.fnmr.random, record.fmr.random) == (point.fnmr, point.fmr)
    wrong = list(scores[flags] < point.threshold)
    assert record.fnmr.area.value == pytest.approx(area_by_hand(wrong, list(quality[flags])))
    wrong = list(scores[~flags] >= point.threshold)
    assert record.fmr.area.value == pytest.approx(area_by_hand(wrong, list(quality[~flags])))
    assert record.fnmr.difference.value == pytest.approx(record.fnmr.area.value - point.fnmr)
    assert "18 errors" in record.fmr.caution
    content = record.as_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["fnmr"]["rates"][0] == point.fnmr


def test_intervals_are_those_of_repeated_pairs() -> None:
    """Each resample again, slowly: repeat the pairs, fix the threshold, walk the curve."""
    pairs = world(seed=2)
    record = error_versus_reject(**pairs, target_fmr=0.1, resamples=8, seed=4)
    flags, people = pairs["is_mated"], (pairs["first_identity"], pairs["second_identity"])
    codes = np.unique(np.concatenate(people), return_inverse=True)[1]
    bootstrap = IdentityBootstrap(*np.split(codes, 2), seed=4, resamples=8)
    drawn = {"fnmr": [], "fmr": []}
    for weights in np.concatenate(list(bootstrap.blocks())).astype(int):
        scores, quality, kinds = (
            np.repeat(column, weights) for column in (pairs["scores"], pairs["quality"], flags)
        )
        limit = fnmr_at_fmr(scores[kinds], scores[~kinds], target_fmr=0.1).threshold
        for name, kind in (("fnmr", kinds), ("fmr", ~kinds)):
            wrong = list((scores[kind] >= limit) == (name == "fmr"))
            drawn[name].append(area_by_hand(wrong, list(quality[kind])) - np.mean(wrong))
    for name, differences in drawn.items():
        got = getattr(record, name).difference
        expected = np.quantile(differences, [0.025, 0.975])
        np.testing.assert_allclose([got.low, got.high], expected, atol=1e-12)


def test_a_quality_that_helps_is_shown_and_noise_is_not() -> None:
    helpful = error_versus_reject(**world(seed=1), target_fmr=0.1, resamples=200).fnmr
    assert helpful.difference.is_shown
    assert helpful.difference.value < 0
    assert 0 < helpful.gained < 1
    noise = error_versus_reject(**world(seed=1, helps=0.0), target_fmr=0.1, resamples=200).fnmr
    assert not noise.difference.is_shown


def test_failed_pairs_are_left_out_and_counted() -> None:
    pairs = world()
    failed = np.zeros(pairs["scores"].size, np.bool_)
    failed[[0, 70, 200]] = True
    broken = dict(pairs) | {
        "scores": np.where(failed, np.nan, pairs["scores"]),
        "quality": np.where(failed, np.nan, pairs["quality"]),
    }
    left = {name: np.asarray(column)[~failed] for name, column in pairs.items()}
    found = error_versus_reject(**broken, failed=failed, target_fmr=0.1, resamples=10).as_dict()
    expected = error_versus_reject(**left, target_fmr=0.1, resamples=10).as_dict()
    assert found.pop("failed_pairs_left_out") == 3
    assert expected.pop("failed_pairs_left_out") == 0
    assert found == expected


def test_no_error_leaves_nothing_to_gain() -> None:
    pairs = world()
    scores = np.where(pairs["is_mated"], 10.0, np.linspace(0, 1, pairs["scores"].size))
    record = error_versus_reject(**(pairs | {"scores": scores}), target_fmr=0.1, resamples=20)
    assert record.fnmr.area.value == record.fnmr.area.low == 0
    assert record.fnmr.area.high == pytest.approx(1 - 0.025 ** (1 / 30))
    assert record.fnmr.gained is None
    assert not record.fnmr.difference.is_shown


def test_what_is_refused() -> None:
    pairs = world()
    with pytest.raises(UndefinedRateError, match=r"FMR 0.001 cannot be seen in 180"):
        error_versus_reject(**pairs, target_fmr=0.001)
    quality = np.where(np.arange(360) == 5, np.nan, pairs["quality"])
    with pytest.raises(ValueError, match="quality holds 1 NaN"):
        error_versus_reject(**(pairs | {"quality": quality}), target_fmr=0.1)
    with pytest.raises(ValueError, match=r"quality must have shape \(360,\)"):
        error_versus_reject(**(pairs | {"quality": [1.0]}), target_fmr=0.1)


def test_a_list_without_a_score_is_refused() -> None:
    with pytest.raises(UndefinedRateError, match="needs pairs with a score, got 2 failed pairs"):
        error_versus_reject(
            [0.0, 0.0],
            [1, 0],
            [0.0, 0.0],
            first_identity=[0, 0],
            second_identity=[0, 1],
            failed=np.array([True, True]),
        )
