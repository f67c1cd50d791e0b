"""Rates of many pairs, against the plain functions and bootstrap and scikit-learn's curve."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from marginface.errors import UndefinedRateError
from marginface.evaluation import fnmr_at_fmr, many_bootstrap, many_pairs
from marginface.evaluation.bootstrap import IdentityBootstrap
from marginface.evaluation.many_bootstrap import ManyPairs, pair_weights
from marginface.evaluation.many_pairs import fnmr_at_fmrs, judge_many_pairs, roc_tar
from marginface.evaluation.ranked import RankedPairs
from tests.evaluation.cases import MATED, NONMATED

TARGETS = (0.003, 0.02, 0.1, 0.37)


def public_rule(mated, nonmated, targets):
    """The printed table: nearest point of scikit-learn's curve, turned round, first of equals."""
    flags = np.repeat([1, 0], [len(mated), len(nonmated)])
    far, tar, _ = roc_curve(flags, np.concatenate([mated, nonmated]))
    far, tar = np.flipud(far), np.flipud(tar)
    nearest = [min(zip(abs(far - t), range(len(far)), strict=True))[1] for t in targets]
    return {t: (tar[n], far[n]) for t, n in zip(targets, nearest, strict=True)}


@pytest.mark.parametrize("window", [1, 5, 4096])
@pytest.mark.parametrize("digits", [1, 2, 9])
@pytest.mark.parametrize("seed", range(4))
def test_the_public_table_to_the_last_digit(window, digits, seed, monkeypatch):
    monkeypatch.setattr(many_pairs, "WINDOW", window)
    rng = np.random.default_rng(seed)
    mated = rng.normal(1.5, 1, 60 if seed % 2 else 600).round(digits)
    nonmated = rng.normal(0, 1, 3000).round(digits)
    assert roc_tar(mated, nonmated, TARGETS) == public_rule(mated, nonmated, TARGETS)


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=30),
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3]), min_size=1, max_size=30),
    st.sampled_from([1e-6, 0.01, 0.1, 0.25, 0.5, 0.99]),
)
def test_the_public_table_on_few_distinct_scores(mated, nonmated, target):
    assert roc_tar(mated, nonmated, [target]) == public_rule(mated, nonmated, [target])


def test_the_public_table_may_exceed_the_target():
    # One of 10 is nearer to 0.06 than none, and of its points the last has the highest TAR; the
    # exact rate must not exceed 0.06 and refuses.
    mated, nonmated = [0.95, 0.5], [0.6, *[0.1] * 9]
    assert roc_tar(mated, nonmated, [0.06]) == {0.06: (1.0, 0.1)}
    assert list(fnmr_at_fmrs(mated, nonmated, [0.06])[1]) == [0.06]


@settings(max_examples=30)
@given(MATED, NONMATED)
def test_rates_equal_the_plain_function(mated, nonmated):
    points, refused = fnmr_at_fmrs(mated, nonmated, TARGETS)
    for target in TARGETS:
        if target in refused:
            with pytest.raises(UndefinedRateError):
                fnmr_at_fmr(mated, nonmated, target_fmr=target)
        else:
            assert points[target] == fnmr_at_fmr(mated, nonmated, target_fmr=target)


@pytest.mark.parametrize("digits", [1, 7])
def test_float32_scores_give_the_rates_of_their_values(digits):
    # A threshold just above a float32 score must not round back onto it.
    rng = np.random.default_rng(0)
    mated, nonmated = (rng.normal(m, 1, 2000).round(digits).astype(np.float32) for m in (1, 0))
    points, _ = fnmr_at_fmrs(mated, nonmated, TARGETS)
    for target, point in points.items():
        exact = fnmr_at_fmr(mated.astype(float), nonmated.astype(float), target_fmr=target)
        assert (point.fmr, point.fnmr) == (exact.fmr, exact.fnmr)
        assert np.mean(nonmated >= np.float32(point.threshold)) == point.fmr


def people(rng, pairs=2000, identities=40, digits=2):
    first = rng.integers(0, identities, pairs)
    second = np.where(rng.random(pairs) < 0.2, first, rng.integers(0, identities, pairs))
    scores = np.where(first == second, 1.5, 0.0) + rng.normal(size=pairs)
    scores += rng.normal(size=identities)[first] / 2
    scores = scores.round(digits)
    scores[rng.random(pairs) < 0.01] = -np.inf
    return scores, first, second


@pytest.mark.parametrize("digits", [1, 8])
@pytest.mark.parametrize("cuts", [(0.5,), many_bootstrap.CUTS, ()])
@pytest.mark.parametrize("gather_cost", [0, 1 << 40])
def test_every_draw_equals_the_plain_bootstrap(digits, cuts, gather_cost, monkeypatch):
    monkeypatch.setattr(many_bootstrap, "CUTS", cuts)
    monkeypatch.setattr(many_bootstrap, "GATHER_COST", gather_cost)
    monkeypatch.setattr(many_bootstrap, "BLOCK", 5000)
    monkeypatch.setattr(many_bootstrap, "SLICE", 16)
    scores, first, second = people(np.random.default_rng(1), digits=digits)
    plain = IdentityBootstrap(first, second, seed=5, resamples=50)
    ranked = RankedPairs(scores, first == second, None)
    names = {str(target): target for target in TARGETS}
    blocks = [ranked.measure(weights, names) for weights in plain.blocks()]
    record = judge_many_pairs(
        scores,
        first == second,
        first_identity=first,
        second_identity=second,
        fmr_targets=TARGETS,
        seed=5,
        resamples=50,
    )
    for target in TARGETS:
        expected = np.concatenate([block[str(target)] for block in blocks])
        name = f"fnmr_at_fmr_{target}"
        np.testing.assert_allclose(record.drawn[name], expected, atol=1e-12)
        assert record.metrics[name].low <= record.metrics[name].value <= record.metrics[name].high


def test_draws_that_let_everything_pass():
    # Where the few most alike strangers were not drawn, far more pairs may match.
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    first, second = np.array([0, 1, 2, 0, 1, 0]), np.array([0, 1, 2, 1, 2, 2])
    flags = first == second
    counts = np.array([[3, 0, 1], [0, 3, 1], [1, 1, 1]], dtype=np.float32)
    many = ManyPairs(
        scores[flags],
        scores[~flags],
        mated_identity=first[flags],
        first=first[~flags],
        second=second[~flags],
    )
    weights = (counts[:, first] * np.where(flags, 1, counts[:, second])).astype(np.float64)
    ranked = RankedPairs(scores, flags, None)
    for target in (0.01, 0.34, 0.9):
        expected = ranked.measure(weights, {"fnmr": target})["fnmr"]
        np.testing.assert_allclose(many.fnmr(counts, [target])[0], expected)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 60))
def test_pair_weights_equal_the_sum(seed, pairs):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, (7, 5)).astype(np.float32)
    first, second = rng.integers(0, 5, (2, pairs))
    expected = [sum(c[i] * c[j] for i, j in zip(first, second, strict=True)) for c in counts]
    assert pair_weights(counts, first, second).tolist() == expected


def test_pair_weights_beyond_float32():
    # 30 million pairs of one couple: the sum is odd, and no float32.
    counts = np.array([[3, 1]], dtype=np.float32)
    first = np.zeros((1 << 24) // 3 + 5, dtype=np.int64)
    assert pair_weights(counts, first, first + 1)[0] == 3 * first.size


def test_record():
    scores, first, second = people(np.random.default_rng(2))
    record = judge_many_pairs(
        scores.astype(np.float32),
        first == second,
        first_identity=first,
        second_identity=second,
        fmr_targets=(1e-6, 0.01, 0.1),
        resamples=20,
    )
    assert list(record.refused) == ["fnmr_at_fmr_0.000001"]
    assert "rule of 30" in record.cautions["fnmr_at_fmr_0.01"]
    assert list(record.cautions) == ["fnmr_at_fmr_0.01"]
    assert record.pairs["mated"] == np.sum(first == second)
    assert record.pairs["failed_nonmated"] == np.sum(np.isneginf(scores) & (first != second))
    assert record.identities == 40
    assert record.as_dict()["bootstrap"] == {"over": "identities", "seed": 0, "resamples": 20}


def test_no_errors_seen_states_what_could_be_unseen():
    first, second = np.array([0, 1, 2, 0, 1, 2] * 4), np.array([0, 1, 2, 1, 2, 0] * 4)
    record = judge_many_pairs(
        np.where(first == second, 1.0, 0.0),
        first == second,
        first_identity=first,
        second_identity=second,
        fmr_targets=(0.1,),
        resamples=20,
    )
    interval = record.metrics["fnmr_at_fmr_0.1"]
    assert (interval.value, interval.low) == (0.0, 0.0)
    assert interval.high > 0.5


def test_bad_input():
    with pytest.raises(ValueError, match="1 NaN or infinite scores of 2"):
        fnmr_at_fmrs([0.1, np.nan], [0.1])
    with pytest.raises(ValueError, match="1 NaN or infinite scores of 2"):
        roc_tar([0.1], [np.inf, 0.1])
    with pytest.raises(UndefinedRateError, match="nonmated must hold at least one score"):
        fnmr_at_fmrs([0.1], [])
    with pytest.raises(ValueError, match=r"fractions in \(0, 1\), got 1.5"):
        fnmr_at_fmrs([0.1], [0.1], [1.5])
    with pytest.raises(ValueError, match=r"got True for 0 and 1 in pair 1 \(1 such"):
        judge_many_pairs(
            np.array([0.1, 0.2]),
            [0, 1],
            first_identity=np.array([0, 0]),
            second_identity=np.array([1, 1]),
        )
