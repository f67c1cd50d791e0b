"""Mislabels, twins and overlap, on embeddings whose faults were put there by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from marginface.recognition.inspection import (
    People,
    find_twins,
    likely_mislabels,
    likely_twins,
    people_of,
)

DIM = 32


def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def made(owners: list[int], labels: list[int], *, seed: int = 0, noise: float = 0.08) -> People:
    """Pictures of `owners` that lie under `labels`; one direction an owner."""
    directions = unit(np.random.default_rng(9).normal(size=(12, DIM)))
    generator = np.random.default_rng(seed)
    spread = generator.normal(0, noise, (len(owners), DIM))
    embeddings = unit(directions[owners].astype(np.float64) + spread)
    people = [f"p{number}" for number in range(12)]
    names = [f"p{label}/{row}.jpg" for row, label in enumerate(labels)]
    return people_of(embeddings, np.array(labels), people, names)


OWNERS = [0] * 5 + [1] * 5 + [2] * 5


def test_own_means_leave_the_picture_out() -> None:
    people = made(OWNERS, OWNERS)
    rest = people.embeddings[1:5].astype(np.float64).sum(axis=0)
    expected = people.embeddings[0] @ (rest / np.linalg.norm(rest))
    np.testing.assert_allclose(people.own[0], expected, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(people.means, axis=1), 1, rtol=1e-9)


def test_a_clean_set_has_no_findings() -> None:
    people = made(OWNERS, OWNERS)
    assert likely_mislabels(people) == []
    assert likely_twins(people) == []


def test_a_wrong_label_is_found_with_the_right_one() -> None:
    owners = OWNERS.copy()
    owners[2] = 1
    [found] = likely_mislabels(made(owners, OWNERS))
    assert (found.name, found.identity, found.nearest) == ("p0/2.jpg", "p0", "p1")
    assert found.other > 0.8 > found.own


def test_an_only_picture_is_no_mislabel_and_can_be_a_twin() -> None:
    people = made([*OWNERS, 1], [*OWNERS, 3])
    assert np.isnan(people.own[-1])
    assert likely_mislabels(people) == [] or all(
        found.nearest == "p3" for found in likely_mislabels(people)
    )
    assert [(found.first, found.second) for found in likely_twins(people)] == [("p1", "p3")]


def test_one_person_in_two_folders_is_found_and_the_clearest_first() -> None:
    labels = [0, 0, 0, 4, 4, 1, 1, 1, 5, 5, 2, 2, 2, 2, 2]
    found = likely_twins(made(OWNERS, labels))
    assert {(each.first, each.second) for each in found} == {("p0", "p4"), ("p1", "p5")}
    assert all(each.score >= 0.9 * each.own for each in found)
    gaps = [each.own - each.score for each in found]
    assert gaps == sorted(gaps)


def test_of_too_many_twins_the_likeliest_are_kept_and_all_are_counted() -> None:
    # One direction for everybody: a model that sees all alike.
    everybody = made([0] * 24, [row // 2 for row in range(24)])
    whole = find_twins(everybody, ratio=0.5)
    assert len(whole.best) == whole.total == 66
    few = find_twins(everybody, ratio=0.5, most=5)
    assert (few.best, few.total) == (whole.best[:5], 66)
    assert likely_twins(everybody, ratio=0.5) == whole.best
    overlap = find_twins(everybody, everybody, ratio=0.5, most=1)
    assert (len(overlap.best), overlap.total) == (1, 144)
    with pytest.raises(ValueError, match="most must be at least 1, got 0"):
        find_twins(everybody, most=0)


def test_people_in_both_sets_are_found() -> None:
    here, there = made(OWNERS, OWNERS), made([1] * 4 + [7] * 4, [8] * 4 + [7] * 4, seed=5)
    assert [(each.first, each.second) for each in likely_twins(here, there)] == [("p1", "p8")]
    assert likely_twins(there, made([3] * 4, [3] * 4)) == []


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    owners, labels = [*OWNERS, 1, 4], [0] * 4 + [3] + [1] * 5 + [2] * 5 + [0, 4]
    whole = made(owners, labels)
    expected = likely_mislabels(whole), likely_twins(whole, ratio=0.3)
    assert all(expected)
    monkeypatch.setattr("marginface.recognition.inspection._BLOCK", 2)
    assert find_twins(whole, ratio=0.3, most=3).best == expected[1][:3]
    cut = made(owners, labels)
    np.testing.assert_array_equal(cut.own, whole.own)
    assert [each.name for each in likely_mislabels(cut)] == [each.name for each in expected[0]]
    assert [(each.first, each.second) for each in likely_twins(cut, ratio=0.3)] == [
        (each.first, each.second) for each in expected[1]
    ]


def test_identities_without_a_face_are_dropped() -> None:
    people = made([3, 3, 5], [3, 3, 5])
    assert people.identities == ["p3", "p5"]
    assert people.labels.tolist() == [0, 0, 1]


def test_one_person_alone_and_a_wrong_ratio() -> None:
    assert likely_mislabels(made([0, 0], [0, 0])) == []
    with pytest.raises(ValueError, match=r"ratio must lie in \(0, 1\], got 0"):
        likely_twins(made([0, 0], [0, 0]), ratio=0)
