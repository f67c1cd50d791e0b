"""Parts of search records, against programs that copy probes and try every threshold."""

import math
from dataclasses import replace

import numpy as np
import pytest

from marginface.errors import UndefinedRateError
from marginface.evaluation import search_judge
from marginface.evaluation.bootstrap import unseen_rate
from marginface.evaluation.gallery_search import Searches
from marginface.evaluation.identification import fnir_at_fpir
from marginface.evaluation.search_judge import cmc_curve, judge_searches, open_set_curves


def made(seed, *, probes=240, people=30, enrolled=18, shift=2.0):
    """Searches of some people with ties, failed faces and ranks, and who is on each probe."""
    rng = np.random.default_rng(seed)
    person = rng.integers(0, people, probes)
    is_mated = person < enrolled
    hardness = rng.normal(0, 0.7, people)[person]
    own = np.where(is_mated, (shift + hardness + rng.normal(size=probes)).round(1), -np.inf)
    other = rng.normal(size=probes).round(1)
    own[::31] = other[::31] = -np.inf
    rank = np.where(is_mated, 1 + (rng.random(probes) < 0.3) * rng.integers(0, 7, probes), 0)
    searches = Searches(own=own, other=other, rank=rank, is_mated=is_mated, gallery=enrolled)
    return searches, person


def copied(one, weights):
    rows = np.repeat(np.arange(weights.size), weights)
    return Searches(
        own=one.own[rows],
        other=one.other[rows],
        rank=one.rank[rows],
        is_mated=one.is_mated[rows],
        gallery=one.gallery,
    )


def brute_intervals(searches, person, target, *, seed, resamples):
    """FNIR per gallery and their mean, of probes copied as often as their person was drawn."""
    rng = np.random.default_rng(seed)
    people = person.max() + 1
    drawn = []
    for _ in range(resamples):
        weights = rng.multinomial(people, np.full(people, 1 / people))[person]
        drawn.append([fnir_at_fpir(copied(one, weights), target).fnir for one in searches])
    columns = [*np.array(drawn).T, np.mean(drawn, axis=1)]
    return [np.quantile(column, [0.025, 0.975]) for column in columns]


@pytest.mark.parametrize("block", [1, 1 << 21])
def test_intervals_of_fnir_are_those_of_copied_probes(block, monkeypatch):
    monkeypatch.setattr(search_judge, "BLOCK", block)
    searches, person = made(0)
    again, _ = made(0, shift=1.0)
    several = {"G1": searches, "G2": again}
    record = judge_searches(several, person, fpir_targets=(0.2,), seed=4, resamples=60)
    expected = brute_intervals(several.values(), person, 0.2, seed=4, resamples=60)
    found = [p for p in record["fnir_at_fpir"] if p["rule"] == "iso"]
    assert [p["gallery"] for p in found] == ["G1", "G2"]
    found += [m for m in record["mean_fnir"] if m["rule"] == "iso"]
    for point, ends in zip(found, expected, strict=True):
        assert (point["low"], point["high"]) == pytest.approx(tuple(ends))
        assert point["low"] < point["fnir"] < point["high"]
    assert not any("low" in p for p in record["fnir_at_fpir"] if p["rule"] == "newer")


def test_intervals_of_the_cmc_are_those_of_copied_probes():
    searches, person = made(2)
    record = judge_searches({"all": searches}, person, ranks=(1, 3), seed=5, resamples=80)
    mated, found = person[searches.is_mated], searches.rank[searches.is_mated]
    enrolled = np.unique(mated)
    assert "mean_fnir" not in record
    for rank in (1, 3):
        rng = np.random.default_rng(5)
        drawn = []
        for _ in range(80):
            counts = rng.multinomial(enrolled.size, np.full(enrolled.size, 1 / enrolled.size))
            weights = counts[np.searchsorted(enrolled, mated)]
            drawn.append(np.mean(np.repeat(found, weights) <= rank))
        ends = record["cmc"][str(rank)]
        assert ends["value"] == np.mean(found <= rank)
        assert (ends["low"], ends["high"]) == pytest.approx(
            tuple(np.quantile(drawn, [0.025, 0.975]))
        )


@pytest.mark.parametrize("seed", range(4))
def test_curves_hold_fnir_at_every_fpir(seed):
    searches, _ = made(seed)
    (curve,) = open_set_curves({"all": searches})
    own, strangers = searches.own[searches.is_mated], searches.other[~searches.is_mated]
    thresholds = [math.inf, *sorted({*own, *strangers} - {-math.inf}, reverse=True)]
    for threshold in thresholds:
        fpir, fnir = np.mean(strangers >= threshold), np.mean(own < threshold)
        # Drawn as steps, the line at this FPIR is as low as the last threshold that meets it.
        lowest = min(np.mean(own < t) for t in thresholds if np.mean(strangers >= t) <= fpir)
        place = np.searchsorted(curve["fpir"], fpir, side="right") - 1
        assert curve["fnir"][place] == lowest <= fnir


@pytest.mark.parametrize(("seed", "gallery"), [(0, 18), (1, 5), (2, 3)])
def test_the_cmc_curve_holds_every_rank(seed, gallery):
    one, other = made(seed)[0], made(seed + 9)[0]
    several = {"a": replace(one, gallery=gallery), "b": replace(other, gallery=2)}
    curve = cmc_curve(several)
    found = np.concatenate([s.rank[s.is_mated] for s in several.values()])
    assert (curve["rank"][0], curve["rank"][-1]) == (1, gallery)
    for rank in range(1, gallery + 1):
        place = np.searchsorted(curve["rank"], rank, side="right") - 1
        assert curve["tpir"][place] == np.mean(found <= rank)
    assert len(curve["rank"]) <= len(set(found.tolist())) + 2


def test_curves_and_points_agree():
    searches, person = made(3, probes=3000)
    record = judge_searches({"all": searches}, person, resamples=2)
    (curve,) = record["open_set_curves"]
    assert len(curve["fpir"]) <= 300
    for point in (p for p in record["fnir_at_fpir"] if p["rule"] == "iso"):
        place = np.searchsorted(curve["fpir"], point["fpir"], side="right") - 1
        assert curve["fnir"][place] == pytest.approx(point["fnir"], abs=0.02)


def test_galleries_without_strangers_or_without_mates_have_no_curve():
    searches, person = made(0, enrolled=30)
    assert open_set_curves({"all": searches}) == []
    record = judge_searches({"all": searches}, person, fpir_targets=(0.1,), resamples=5)
    assert record["fnir_at_fpir"] == record["open_set_curves"] == []
    for rule in ("iso", "newer"):
        reason = record["refused"][f"rule {rule}, gallery all, FPIR 0.1"]
        assert "not enrolled, got none" in reason
    nobody, person = made(0, enrolled=0)
    with pytest.raises(UndefinedRateError, match="enrolled people, got none"):
        judge_searches({"all": nobody}, person)


def test_small_samples_are_warned_of():
    searches, person = made(0)
    record = judge_searches({"all": searches}, person, fpir_targets=(0.1, 0.9), resamples=3)
    strangers = int((~searches.is_mated).sum())
    strict, lax = (p for p in record["fnir_at_fpir"] if p["rule"] == "iso")
    assert strict["caution"] == (
        f"the threshold rests on {strangers // 10} alarms of {strangers} non-mated searches; "
        "the rule of 30 asks for 300"
    )
    assert "caution" not in lax
    assert record["cautions"] == {}
    few = judge_searches({"all": searches}, person % 19, fpir_targets=(0.1,), resamples=3)
    assert few["cautions"] == {"intervals": "drawn from 19 identities only; take them as rough"}


def test_where_nobody_was_missed_the_interval_stays_open():
    searches, person = made(0, shift=50.0)
    kept = np.isfinite(searches.other)
    searches, person = copied(searches, kept.astype(int)), person[kept]
    record = judge_searches({"all": searches}, person, fpir_targets=(0.1,), resamples=9)
    (point,) = (p for p in record["fnir_at_fpir"] if p["rule"] == "iso")
    people = np.unique(person[searches.is_mated]).size
    assert (point["fnir"], point["low"], point["high"]) == (0, 0, unseen_rate(people))


def test_without_resamples_there_are_values_only():
    searches, person = made(0)
    record = judge_searches({"a": searches, "b": searches}, person, resamples=0)
    assert set(record["cmc"]["1"]) == {"value"}
    assert not any("low" in p for p in [*record["fnir_at_fpir"], *record["mean_fnir"]])
