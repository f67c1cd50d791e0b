from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.data import (
    make_pairs,
    read_identity_list,
    resolve_pairs,
    split_identities,
    write_identity_list,
)
from marginface.errors import DataError, ProtocolFileError

NAMES = [f"p{i:02d}/p{i:02d}_{k:04d}.png" for i in range(20) for k in range(1, 3 + i % 5)]


@settings(max_examples=25, deadline=None)
@given(st.sets(st.text("abcdef", min_size=1), min_size=2), st.integers(0, 9), st.data())
def test_split_is_a_partition(people: set[str], seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(people) - 1))
    train, val = split_identities(sorted(people), val_count=count, seed=seed)
    assert set(train) | set(val) == people
    assert not set(train) & set(val)
    assert len(val) == count
    assert split_identities(sorted(people, reverse=True), val_count=count, seed=seed) == (
        train,
        val,
    )


def test_split_moves_few_when_one_is_added() -> None:
    people = [f"p{i}" for i in range(100)]
    before = set(split_identities(people, val_count=20)[1])
    after = set(split_identities([*people, "new"], val_count=20)[1])
    assert len(before - after) <= 1
    assert before != set(split_identities(people, val_count=20, seed=1)[1])
    assert len(split_identities(people, val_fraction=0.3)[1]) == 30


def test_split_refuses() -> None:
    with pytest.raises(DataError, match="people on both sides, got 0 of 1 to judge on"):
        split_identities(["anna"])
    with pytest.raises(DataError, match="got 2 of 2"):
        split_identities(["a", "b"], val_count=2)
    with pytest.raises(ValueError, match=r"val_fraction must lie in \(0, 1\), got 20"):
        split_identities(["a", "b"], val_fraction=20.0)


def test_identity_lists(tmp_path: Path) -> None:
    path = tmp_path / "people.txt"
    write_identity_list(["zoë", "anna"], path)
    assert read_identity_list(path) == ["zoë", "anna"]
    path.write_text("# judged\n\nanna \nberta\nanna\n")
    with pytest.raises(ProtocolFileError, match=r"people.txt line 5: 'anna' stands in line 3 too"):
        read_identity_list(path)
    path.write_text("\n")
    with pytest.raises(ProtocolFileError, match="must hold one name a line, got none"):
        read_identity_list(path)
    with pytest.raises(ProtocolFileError, match="could not be read"):
        read_identity_list(tmp_path / "absent.txt")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(0, 50))
def test_made_pairs_keep_people_in_one_fold(folds: int, seed: int) -> None:
    pairs = make_pairs(NAMES, folds=folds, pairs_per_fold=6, seed=seed)
    assert len(pairs) == folds * 12
    resolve_pairs(pairs, NAMES)
    people: dict[int, set[str]] = {}
    seen = set()
    for first, second, mated, fold in zip(
        pairs.first, pairs.second, pairs.is_mated, pairs.fold, strict=True
    ):
        assert (first[0] == second[0]) == bool(mated)
        assert first != second
        people.setdefault(int(fold), set()).update((first[0], second[0]))
        seen.add(frozenset((first, second)))
    assert len(seen) == len(pairs)
    for one, other in combinations(people.values(), 2):
        assert not one & other
    again = make_pairs(NAMES, folds=folds, pairs_per_fold=6, seed=seed)
    assert (again.first, again.second) == (pairs.first, pairs.second)


def test_mated_pairs_are_shared_out() -> None:
    """A person of 30 pictures has 435 pairs, and must not crowd out those of three."""
    names = [f"big/big_{k:04d}.png" for k in range(1, 31)]
    names += [f"s{i}/s{i}_{k:04d}.png" for i in range(9) for k in (1, 2, 3)]
    pairs = make_pairs(names, folds=1, pairs_per_fold=20)
    mated = [a[0] for a, kind in zip(pairs.first, pairs.is_mated, strict=True) if kind]
    assert mated.count("big") <= 3
    assert make_pairs(names, folds=1, pairs_per_fold=20, seed=1).first != pairs.first


def test_what_a_refusal_names_would_do() -> None:
    """Seven people of eight pictures: ten folds leave some without anybody."""
    names = [f"s{i}/s{i}_{k:04d}.png" for i in range(7) for k in range(1, 9)]
    with pytest.raises(DataError, match=r"ask for --folds 2 --pairs-per-fold 84, or bring"):
        make_pairs(names, folds=10, pairs_per_fold=300)
    assert len(make_pairs(names, folds=2, pairs_per_fold=84)) == 2 * 2 * 84
    with pytest.raises(DataError, match=r"ask for --pairs-per-fold 56 or --folds 2, or bring"):
        make_pairs(names, folds=3, pairs_per_fold=80)
    with pytest.raises(DataError, match="fold 2 can make 84 mated pairs of 3 people"):
        make_pairs(names, folds=2, pairs_per_fold=85)
    for folds, count in ((3, 56), (2, 80)):
        assert len(make_pairs(names, folds=folds, pairs_per_fold=count)) == 2 * folds * count
    with pytest.raises(DataError, match="bring more people, with two pictures or more each"):
        make_pairs(["a/a_0001.png", "b/b_0001.png"], folds=2, pairs_per_fold=1)


def test_make_pairs_refuses() -> None:
    with pytest.raises(
        DataError, match=r"fold 1 can make [\d]+ mated pairs of 20 people, 500 were"
    ):
        make_pairs(NAMES, folds=1, pairs_per_fold=500)
    one = ["a/a_0001.png", "a/a_0002.png"]
    with pytest.raises(DataError, match="fold 1 can make 0 nonmated pairs of 1 person, 1 were"):
        make_pairs(one, folds=1, pairs_per_fold=1)
    with pytest.raises(ValueError, match=r"names must read .*, got 'a/portrait.png'"):
        make_pairs(["a/portrait.png"], folds=1, pairs_per_fold=1)
    with pytest.raises(ValueError, match="must be positive, got 0, 1"):
        make_pairs(NAMES, folds=0, pairs_per_fold=1)
