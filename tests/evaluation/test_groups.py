import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.errors import UndefinedRateError
from marginface.evaluation import (
    compare_groups,
    compare_pairs,
    fnmr_at_fmr,
    judge_groups,
    judge_pairs,
    quantile_bins,
)
from marginface.evaluation.bootstrap import IdentityBootstrap
from tests.evaluation.cases import people_pairs, people_scores

LABELS = np.array(["a", "b", "c", ""])


def world(seed: int = 0, hard: str = "") -> dict[str, np.ndarray]:
    """Pairs whose pictures carry labels of their own; mated pairs of group `hard` score lower."""
    rng = np.random.default_rng(seed)
    first, second, _ = people_pairs(rng, identities=30, folds=3, mated=80, nonmated=100)
    groups = [rng.choice(LABELS, p=[0.4, 0.3, 0.2, 0.1], size=first.size) for _ in range(2)]
    scores = people_scores(rng, first, second)
    scores -= 1.5 * ((groups[0] == hard) & (groups[1] == hard) & (first == second))
    return {
        "scores": scores.round(2),
        "is_mated": first == second,
        "first_identity": first,
        "second_identity": second,
        "first_group": groups[0],
        "second_group": groups[1],
    }


def rates_by_hand(pairs, threshold, name):
    """(FNMR, FMR, mated, nonmated) of one cell, pair by pair."""
    errors, counts = {True: 0, False: 0}, {True: 0, False: 0}
    columns = (pairs[key] for key in ("scores", "is_mated", "first_group", "second_group"))
    for score, is_mated, one, other in zip(*columns, strict=True):
        is_labelled = one != "" and other != ""
        is_here = {
            "all": True,
            "different groups": is_labelled and one != other,
        }.get(name, is_labelled and {one, other} == set(name.split(" × ")))
        if is_here:
            counts[bool(is_mated)] += 1
            errors[bool(is_mated)] += (score >= threshold) != is_mated
    rates = {kind: errors[kind] / counts[kind] if counts[kind] else None for kind in counts}
    return rates[True], rates[False], counts[True], counts[False]


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_every_cell_by_hand(seed: int) -> None:
    pairs = world(seed)
    record = judge_groups(**pairs, target_fmr=0.05, resamples=2)
    flags, scores = pairs["is_mated"], pairs["scores"]
    point = fnmr_at_fmr(scores[flags], scores[~flags], target_fmr=0.05)
    assert record.thresholds == (point.threshold,)
    names = ["all", "a", "b", "c", "different groups", "a × b", "a × c", "b × c"]
    assert [row.name for row in record.rows] == names
    for row in record.rows:
        fnmr, fmr, mated, nonmated = rates_by_hand(pairs, point.threshold, row.name)
        assert (row.mated, row.nonmated) == (mated, nonmated)
        assert (row.fnmr.value, row.fmr.value) == pytest.approx((fnmr, fmr))
        assert row.is_within == (row.name in ("all", "a", "b", "c"))
    parts = [row for row in record.rows if row.name in ("a", "b", "c", "different groups")]
    assert sum(row.mated for row in parts) + sum(row.nonmated for row in parts) == (
        scores.size - record.unlabelled_pairs
    )
    assert record.rows[0].fnmr.value == point.fnmr


def test_intervals_are_those_of_repeated_pairs() -> None:
    pairs = world(seed=2)
    record = judge_groups(**pairs, target_fmr=0.05, resamples=12, seed=4)
    people = pairs["first_identity"], pairs["second_identity"]
    bootstrap = IdentityBootstrap(*people, seed=4, resamples=12)
    drawn = []
    for weights in np.concatenate(list(bootstrap.blocks())).astype(int):
        repeated = {name: np.repeat(column, weights) for name, column in pairs.items()}
        flags, scores = repeated["is_mated"], repeated["scores"]
        limit = fnmr_at_fmr(scores[flags], scores[~flags], target_fmr=0.05).threshold
        drawn.append([rates_by_hand(repeated, limit, row.name)[:2] for row in record.rows])
    rates = np.array(drawn, dtype=float)
    np.testing.assert_allclose(record.drawn["fnmr"], rates[:, :, 0], atol=1e-12)
    np.testing.assert_allclose(record.drawn["fmr"], rates[:, :, 1], atol=1e-12)
    row = record.rows[1]
    ends = np.quantile(rates[:, 1, 0], [0.025, 0.975])
    assert (row.fnmr.low, row.fnmr.high) == pytest.approx(tuple(ends))
    ends = np.quantile(rates[:, 1, 0] - rates[:, 0, 0], [0.025, 0.975])
    assert (row.fnmr_difference.low, row.fnmr_difference.high) == pytest.approx(tuple(ends))
    assert row.fnmr_difference.value == row.fnmr.value - record.rows[0].fnmr.value


def test_a_hard_group_is_shown_and_an_equal_one_is_not() -> None:
    record = judge_groups(**world(seed=5, hard="b"), target_fmr=0.05, resamples=200)
    rows = {row.name: row for row in record.rows}
    assert rows["b"].fnmr_difference.is_shown
    assert rows["b"].fnmr_difference.value > 0
    assert not rows["b"].fmr_difference.is_shown
    assert rows["all"].fnmr_difference is None
    assert rows["a × b"].fnmr_difference is None


def test_small_samples_are_named_by_their_rules() -> None:
    people = np.arange(400)
    first, second = np.concatenate([people, people]), np.concatenate([people, people[::-1]])
    flags = first == second
    group = np.where(first < 200, "low", "high")
    scores = np.where(flags, 1.0, 0.0)
    scores[:5] = -1.0  # five false non-matches, all in "low"
    scores[400:440] = 0.9  # forty false matches
    record = judge_groups(
        scores,
        flags,
        first_identity=first,
        second_identity=second,
        first_group=group,
        second_group=group,
        threshold=0.5,
        resamples=50,
    )
    rows = {row.name: row for row in record.rows}
    assert rows["low"].cautions["fnmr"].startswith("rule of 30: 5 errors in 200 pairs")
    assert "fmr" not in rows["low"].cautions
    assert rows["high"].cautions["fnmr"] == (
        "rule of 3: no error in 200 pairs, the true rate may be 0.015"
    )
    high = rows["high"].fnmr
    assert (high.value, high.low) == (0, 0)
    # Two in a hundred people might have erred unseen; three in two hundred pairs is less.
    assert high.high == pytest.approx(1 - 0.025 ** (1 / 200))
    assert record.target_fmr is None
    content = record.as_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_a_group_without_pairs_of_a_kind_has_no_rate() -> None:
    pairs = world()
    group = np.where(pairs["is_mated"], "x", "y")
    record = judge_groups(
        **pairs | {"first_group": group, "second_group": group}, target_fmr=0.05, resamples=10
    )
    rows = {row.name: row for row in record.rows}
    assert rows["x"].fmr is None
    assert rows["x"].cautions["fmr"] == "no pairs"
    assert rows["y"].fnmr is None
    assert rows["y"].fmr.value == rows["all"].fmr.value


def test_runs_are_averaged_each_at_its_own_threshold() -> None:
    pairs = world()
    other = np.random.default_rng(9).permutation(pairs["scores"]) * 3
    both = judge_groups(
        **pairs | {"scores": np.stack([pairs["scores"], other])}, target_fmr=0.05, resamples=10
    )
    alone = [
        judge_groups(**pairs | {"scores": one}, target_fmr=0.05, resamples=10)
        for one in (pairs["scores"], other)
    ]
    assert both.thresholds == tuple(one.thresholds[0] for one in alone)
    for index, row in enumerate(both.rows):
        mean = np.mean([one.rows[index].fnmr.value for one in alone])
        assert row.fnmr.value == pytest.approx(mean)


def test_two_models_group_by_group() -> None:
    pairs, noisy = world(seed=3), world(seed=3)
    noisy["scores"] = pairs["scores"] * 5 + np.random.default_rng(1).normal(size=540) * 8
    a, b = (judge_groups(**each, target_fmr=0.05, resamples=100) for each in (noisy, pairs))
    found = compare_groups(a, b)
    index = [row.name for row in a.rows].index("b")
    difference = found["b"]["fnmr"]
    assert difference.value == pytest.approx(a.rows[index].fnmr.value - b.rows[index].fnmr.value)
    drawn = a.drawn["fnmr"][:, index] - b.drawn["fnmr"][:, index]
    ends = np.quantile(drawn, [0.025, 0.975])
    assert (difference.low, difference.high) == pytest.approx(tuple(ends))
    assert found["all"]["fnmr"].is_shown
    same = compare_groups(a, a)
    assert {item.value for kinds in same.values() for item in kinds.values()} == {0.0}
    for change in ({"seed": 1}, {"target_fmr": 0.1}):
        other = judge_groups(**pairs, **({"target_fmr": 0.05, "resamples": 100} | change))
        with pytest.raises(ValueError, match="records must rest on the same pairs"):
            compare_groups(a, other)


def test_pairs_can_be_compared_under_a_mask() -> None:
    pairs = world(seed=6)
    names = ("is_mated", "first_identity", "second_identity")
    where = pairs["first_group"] == "a"
    other = pairs["scores"] + np.random.default_rng(2).normal(size=540)
    masked = compare_pairs(
        pairs["scores"],
        other,
        **{name: pairs[name] for name in names},
        fmr_targets=(0.1,),
        resamples=20,
        where=where,
    )
    by_hand = compare_pairs(
        pairs["scores"][where],
        other[where],
        **{name: pairs[name][where] for name in names},
        fmr_targets=(0.1,),
        resamples=20,
    )
    assert masked == by_hand
    record = judge_pairs(
        pairs["scores"], **{name: pairs[name] for name in names}, fmr_targets=(0.1,), resamples=2
    )
    assert masked.keys() == record.metrics.keys()


@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.5, 3.0, float("nan")]), min_size=1, max_size=40),
    st.integers(2, 5),
)
def test_bins_hold_equal_numbers_together(values: list[float], bins: int) -> None:
    known = [value for value in values if value == value]
    if not known:
        with pytest.raises(ValueError, match="must hold a number"):
            quantile_bins(values, bins=bins)
        return
    texts, order = quantile_bins(values, bins=bins)
    assert len(set(order)) == len(order) <= bins
    assert {text for text in texts if text} == set(order)
    assert all((text == "") == (value != value) for text, value in zip(texts, values, strict=True))
    labelled = [(v, order.index(t)) for v, t in zip(values, texts, strict=True) if t]
    # Higher numbers are never in a lower group, and equal ones share theirs.
    assert all(i <= j for v, i in labelled for w, j in labelled if v <= w)
    assert all(i == j for v, i in labelled for w, j in labelled if v == w)


def test_bins_without_ties_are_even_and_named_apart() -> None:
    values = np.random.default_rng(0).permutation(300) / 1000
    texts, order = quantile_bins(values, bins=3)
    assert order == ["0 to 0.099", "0.1 to 0.199", "0.2 to 0.299"]
    assert [texts.count(name) for name in order] == [100, 100, 100]
    _, close = quantile_bins([1.0, 1.000001, 1.000002, 1.000003], bins=2)
    assert len(set(close)) == 2


def test_what_groups_refuse() -> None:
    pairs = world()
    with pytest.raises(ValueError, match=r"first_group must have shape \(540,\)"):
        judge_groups(**pairs | {"first_group": ["a"]})
    with pytest.raises(ValueError, match="group must be one of a, b; got 'c'"):
        judge_groups(**pairs, order=["a", "b"])
    with pytest.raises(ValueError, match="must not be called 'all'"):
        judge_groups(**pairs | {"first_group": np.full(540, "all")})
    with pytest.raises(ValueError, match="got none of 540 so"):
        judge_groups(**pairs | {"first_group": np.full(540, "")})
    with pytest.raises(UndefinedRateError, match="cannot be seen in 300 non-mated"):
        judge_groups(**pairs, target_fmr=0.001)
    with pytest.raises(ValueError, match="at most 250, got 543, as 'a' and 'b'"):
        judge_groups(**pairs | {"first_group": np.char.add("p", np.arange(540).astype(str))})


def test_mixtures_of_many_groups_are_left_out_and_it_is_said() -> None:
    pairs = world()
    rng = np.random.default_rng(4)
    for count in (12, 13):
        labels = np.array([f"g{number:02}" for number in range(count)])
        sides = {f"{side}_group": rng.choice(labels, 540) for side in ("first", "second")}
        record = judge_groups(**pairs | sides, resamples=3)
        mixed = [row for row in record.rows if " × " in row.name]
        [different] = [row for row in record.rows if row.name == "different groups"]
        assert different.nonmated == np.sum(
            (sides["first_group"] != sides["second_group"]) & ~pairs["is_mated"]
        )
        if count == 12:
            assert len(mixed) == 66
            assert [row.name for row in mixed] == sorted(row.name for row in mixed)
            assert sum(row.nonmated for row in mixed) == different.nonmated
            assert "a × b" not in different.cautions
        else:
            assert mixed == []
            assert different.cautions["a × b"].endswith("more than 12 groups")
            assert record.unlabelled_pairs == 0
