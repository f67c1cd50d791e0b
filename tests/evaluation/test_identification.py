"""Searches in galleries, against a program that sorts every probe's list and counts by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.errors import UndefinedRateError
from marginface.evaluation import gallery_search
from marginface.evaluation.identification import (
    Searches,
    cmc,
    fnir_at_fpir,
    fnir_draws,
    older_point,
    older_points,
    search_gallery,
)


def unit(rng, rows, dim=6):
    faces = rng.normal(size=(rows, dim))
    return faces / np.linalg.norm(faces, axis=1, keepdims=True)


def brute_force(probes, gallery, probe_identity, gallery_identity):
    """For each probe its own best score, the best of others, and its place in the sorted list."""
    results = []
    for face, person in zip(probes, probe_identity, strict=True):
        listed = sorted(
            # Strangers stand before the own person at equal scores.
            (
                (-(face @ entry), owner == person)
                for entry, owner in zip(gallery, gallery_identity, strict=True)
            ),
        )
        own = [-score for score, is_own in listed if is_own]
        other = [-score for score, is_own in listed if not is_own]
        rank = 0
        if own:
            rank = 1 + sum(score >= max(own) for score in other)
        results.append((max(own, default=-np.inf), max(other, default=-np.inf), rank))
    return [np.array(column) for column in zip(*results, strict=True)]


def brute_fnir(own, rank, strangers, target, within):
    """Try every threshold from lax to strict until few enough strangers are let in."""
    for threshold in [*sorted(set(strangers.tolist() + own.tolist())), math.inf]:
        if np.mean(strangers >= threshold) <= target:
            found = (own >= threshold) & (rank <= within)
            return 1 - found.mean()
    raise AssertionError


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    people = unit(rng, 40)
    gallery_identity = np.concatenate([np.arange(25), [3, 3, 7]])
    probe_identity = rng.integers(0, 40, 300)
    gallery = people[gallery_identity] + 0.4 * rng.normal(size=(28, 6))
    probes = people[probe_identity] + 0.4 * rng.normal(size=(300, 6))
    gallery, probes = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (gallery, probes))
    # Eighths make ties, and their products are exact in whatever order they are added.
    probes, gallery = (np.round(f * 8) / 8 for f in (probes, gallery))
    return probes, gallery, probe_identity, gallery_identity


def searched(case):
    probes, gallery, probe_identity, gallery_identity = case
    return search_gallery(
        probes, gallery, probe_identity=probe_identity, gallery_identity=gallery_identity
    )


@pytest.mark.parametrize("block", [1, 1 << 22])
@pytest.mark.parametrize("entries", ["several a person", "one a person"])
def test_searches_equal_brute_force(case, block, entries, monkeypatch):
    monkeypatch.setattr(gallery_search, "BLOCK", block)
    kept = slice(0, 25) if entries == "one a person" else slice(None)
    probes, gallery, probe_identity, gallery_identity = case
    gallery, gallery_identity = gallery[kept], gallery_identity[kept]
    found = searched((probes, gallery, probe_identity, gallery_identity))
    own, other, rank = brute_force(probes, gallery, probe_identity, gallery_identity)
    assert found.own.tolist() == own.tolist()
    assert found.other.tolist() == other.tolist()
    assert found.rank.tolist() == rank.tolist()
    assert found.is_mated.tolist() == (probe_identity < 25).tolist()


def made(own, other, rank, is_mated):
    return Searches(
        own=np.array(own, float),
        other=np.array(other, float),
        rank=np.array(rank),
        is_mated=np.array(is_mated),
        gallery=9,
    )


SCORE = st.sampled_from([-math.inf, 0.1, 0.2, 0.3, 0.4, 0.5])


@settings(max_examples=60)
@given(
    st.lists(st.tuples(SCORE, st.integers(1, 4)), min_size=1, max_size=20),
    st.lists(SCORE, min_size=10, max_size=20),
    st.sampled_from([0.1, 0.25, 0.5]),
    st.sampled_from([None, 1, 2]),
)
def test_fnir_equals_brute_force(mated, strangers, target, within):
    own, rank = (np.array(column) for column in zip(*mated, strict=True))
    strangers = np.array(strangers)
    searches = made(
        [*own, *[-np.inf] * strangers.size],
        [*own, *strangers],
        [*rank, *[0] * strangers.size],
        [True] * own.size + [False] * strangers.size,
    )
    point = fnir_at_fpir(searches, target, rank=within)
    # A failed probe is found at no threshold, so the lowest one is above -inf.
    expected = brute_fnir(own, rank, strangers, target, within or 99)
    assert point.fnir == pytest.approx(expected)
    assert point.fpir <= target
    draws = fnir_draws(searches, target, np.ones((1, own.size + strangers.size)))
    if within is None:
        assert draws[0] == pytest.approx(point.fnir)


def test_newer_rule_by_hand():
    # Of 20 strangers at 10 % the score at place 2 - 1 counts: 0.81, and own scores must exceed it.
    strangers = np.linspace(0.62, 1.0, 20)[::-1]
    searches = made(
        [0.99, 0.97, 0.99, 0.5, *[-np.inf] * 20],
        [0, 0, 1, 0, *strangers],
        [1, 1, 2, 1, *[0] * 20],
        [True] * 4 + [False] * 20,
    )
    point = fnir_at_fpir(searches, 0.1, rule="newer")
    assert point.threshold == np.nextafter(0.98, 1)
    assert point.fnir == 0.75  # 0.97 is too low, and the second 0.99 is beaten by a stranger
    assert point.fpir == 0.05
    # The exact rule lets two strangers in, and asks for no rank.
    assert fnir_at_fpir(searches, 0.1).fnir == 0.25
    assert fnir_at_fpir(searches, 0.1).fpir == 0.1
    # Below one stranger the newer rule still takes the highest, the exact one refuses.
    assert fnir_at_fpir(searches, 0.01, rule="newer").fpir == 0.0
    with pytest.raises(UndefinedRateError, match="in 20 non-mated searches; give at least 100"):
        fnir_at_fpir(searches, 0.01)


@pytest.mark.parametrize("block", [1, 400, 1 << 22])
def test_older_rule_equals_its_words(block, monkeypatch):
    monkeypatch.setattr(gallery_search, "BLOCK", block)
    rng = np.random.default_rng(1)
    gallery, probe_identity = unit(rng, 30), rng.integers(0, 30, 200)
    probes = unit(rng, 200) + gallery[probe_identity]
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    similarity = probes @ gallery.T
    own = similarity[np.arange(200), probe_identity].copy()
    similarity[np.arange(200), probe_identity] = -2
    others = np.sort(similarity[similarity > -2])[::-1]
    points = older_point(
        probes, gallery, probe_identity=probe_identity, gallery_identity=np.arange(30)
    )
    for target, point in points.items():
        threshold = others[math.ceil(200 * target) - 1]
        assert point.threshold == pytest.approx(threshold)
        assert point.fnir == pytest.approx(1 - np.mean(own > threshold))
        assert point.fpir is None


@pytest.mark.parametrize("block", [1, 1 << 22])
@pytest.mark.parametrize("highest", [1, 7, 5000])
def test_highest_scores_with_others(case, block, highest, monkeypatch):
    monkeypatch.setattr(gallery_search, "BLOCK", block)
    probes, gallery, probe_identity, gallery_identity = case
    found = search_gallery(
        probes,
        gallery,
        probe_identity=probe_identity,
        gallery_identity=gallery_identity,
        highest=highest,
    )
    scores = np.where(probe_identity[:, None] == gallery_identity, -np.inf, probes @ gallery.T)
    assert found.highest.tolist() == np.sort(scores.ravel())[-highest:].tolist()


def test_older_rule_needs_enough_of_the_highest():
    faces = unit(np.random.default_rng(5), 30)
    people = np.arange(30)
    few, strange = (
        search_gallery(faces, faces, probe_identity=p, gallery_identity=people, highest=2)
        for p in (people, people + 1)
    )
    assert older_points(few, [0.05])[0.05].threshold == few.highest[0]
    with pytest.raises(ValueError, match="got 2; search with highest=3"):
        older_points(few, [0.1])
    with pytest.raises(ValueError, match="got 1 probes of nobody there"):
        older_points(strange, [0.05])


def test_older_rule_needs_every_person_once():
    faces = unit(np.random.default_rng(2), 3)
    with pytest.raises(ValueError, match="got 2 entries of 7"):
        older_point(faces[:1], faces, probe_identity=[7], gallery_identity=[7, 7, 8])
    with pytest.raises(ValueError, match="got 0 entries of 9"):
        older_point(faces[:1], faces, probe_identity=[9], gallery_identity=[7, 7, 8])


def test_cmc_over_two_galleries(case):
    both = [
        made([1, 1], [0, 0], [1, 3], [True, True]),
        made([1, -1], [0, 0], [2, 0], [True, False]),
    ]
    assert cmc(both, [1, 2, 3]) == {1: 1 / 3, 2: 2 / 3, 3: 1.0}
    found = searched(case)
    assert cmc(found, [1])[1] == np.mean(found.rank[found.is_mated] == 1)
    with pytest.raises(UndefinedRateError, match="got none"):
        cmc(made([-1], [0], [0], [False]))


def test_a_tie_with_a_stranger_is_a_miss():
    found = search_gallery(
        np.array([[1.0, 0.0]]),
        np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
        probe_identity=["anna"],
        gallery_identity=["anna", "berta", "carla"],
    )
    assert found.rank.tolist() == [2]


def test_faces_that_could_not_be_acquired():
    gallery = np.array([[0.0, 0.0], [-1.0, 0.0]])
    probes = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    found = search_gallery(probes, gallery, probe_identity=[1, 1, 5, 2], gallery_identity=[1, 2])
    assert found.own.tolist() == [-np.inf, -np.inf, -np.inf, -1.0]
    assert found.other.tolist() == [-1.0, -np.inf, -np.inf, -np.inf]
    # A failed entry is behind every other, and a failed probe is found at no rank.
    assert found.rank.tolist() == [3, 3, 0, 1]


def test_draws_weigh_probes_as_copies():
    rng = np.random.default_rng(3)
    is_mated = rng.random(80) < 0.6
    own, other = rng.normal(1, 1, 80).round(1), rng.normal(0, 1, 80).round(1)
    counts = rng.integers(0, 3, (20, 80))
    searches = made(np.where(is_mated, own, -np.inf), other, is_mated * 1, is_mated)
    draws = fnir_draws(searches, 0.2, counts.astype(float))
    for weights, drawn in zip(counts, draws, strict=True):
        copies = np.repeat(np.arange(80), weights)
        copied = made(searches.own[copies], other[copies], searches.rank[copies], is_mated[copies])
        assert drawn == pytest.approx(fnir_at_fpir(copied, 0.2).fnir)


def test_bad_input():
    faces = unit(np.random.default_rng(4), 2)
    with pytest.raises(ValueError, match=r"probes must be rows .* identities of shape \(1,\)"):
        search_gallery(faces, faces, probe_identity=[1], gallery_identity=[1, 2])
    with pytest.raises(ValueError, match="got NaN among their scores"):
        search_gallery(faces * np.nan, faces, probe_identity=[1, 2], gallery_identity=[1, 2])
    with pytest.raises(ValueError, match="rule must be one of iso, newer; got 'new'"):
        fnir_at_fpir(made([1], [0], [1], [True]), 0.1, rule="new")
    with pytest.raises(UndefinedRateError, match="not enrolled, got none"):
        fnir_at_fpir(made([1], [0], [1], [True]), 0.1)
