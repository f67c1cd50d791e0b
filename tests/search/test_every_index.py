"""What holds for every index, whatever it is made of."""

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.search import ExactIndex, Index, fingerprint_of, measured_recall
from tests.search.indices import KINDS, Rows, by_sorting, near, units


@pytest.fixture(params=KINDS)
def index(request: pytest.FixtureRequest) -> Index:
    return KINDS[request.param](16)


def holds(index: Index, ids: Any, rows: Rows, probes: Rows, k: int = 3) -> None:
    """Compare with sorting all."""
    found = index.search(probes, k)
    best, scores = by_sorting(ids, rows, probes, k)
    np.testing.assert_array_equal(found.ids, best)
    np.testing.assert_allclose(found.scores, scores, rtol=0, atol=1e-7)
    assert (found.ids.dtype, found.scores.dtype) == (np.int64, np.float32)
    assert len(index) == len(rows)
    assert index.fingerprint() == fingerprint_of(list(ids), rows)


@pytest.mark.parametrize("count", [1, 5, 100, 900])
def test_is_sorting_all_scores(index: Index, count: int) -> None:
    rows, ids = units(count), np.random.default_rng(count).permutation(5 * count)[:count]
    index.add(ids, rows)
    holds(index, ids, rows, near(rows[:20], 0.5))
    holds(index, ids, rows, units(7, seed=3), k=9)


def test_large_ids(index: Index) -> None:
    ids, rows = [0, 2**63 - 1, 2**40], units(3)
    index.add(ids, rows)
    holds(index, ids, rows, rows)


def test_nothing_is_found_where_nothing_is(index: Index) -> None:
    found = index.search(units(2), 3)
    assert found.ids.tolist() == [[-1] * 3] * 2
    assert (found.scores == -np.inf).all()
    assert index.search(units(0), 3).ids.shape == (0, 3)
    assert index.fingerprint() == "0" * 64
    index.add([], units(0))
    index.remove([])
    index.clear()
    assert len(index) == 0


@pytest.mark.parametrize("count", [5, 700])
def test_nobody_is_asked_for(index: Index, count: int) -> None:
    index.add(np.arange(count), units(count))
    assert index.search(units(0), 3).ids.shape == (0, 3)
    assert index.search(units(0), 3, exactly=True).scores.shape == (0, 3)


@pytest.mark.parametrize("count", [40, 700])
def test_what_is_removed_is_found_no_more(index: Index, count: int) -> None:
    rows, ids = units(count), np.arange(count) * 3
    index.add(ids, rows)
    index.search(rows[:1], 1)
    gone = np.zeros(count, bool)
    gone[[0, 7, 8, 20, count - 1]] = True
    index.remove(ids[gone][::-1])
    holds(index, ids[~gone], rows[~gone], rows[gone])
    with pytest.raises(ValueError, match="ids must be of rows held, got 0"):
        index.remove([9, 0])
    holds(index, ids[~gone], rows[~gone], rows[gone])
    index.remove(ids[~gone])
    assert len(index) == 0
    assert (index.search(rows[:2], 1).ids == -1).all()
    index.add(ids, rows)
    holds(index, ids, rows, rows[:9])


@pytest.mark.parametrize("count", [40, 700])
def test_an_id_added_again_gets_its_new_row(index: Index, count: int) -> None:
    rows = units(count)
    index.add(np.arange(count), rows)
    index.search(rows[:1], 1)
    rows[[3, 17]] = units(2, seed=9)
    index.add([17, 3, count], np.stack([rows[17], rows[3], rows[0]]))
    rows = np.concatenate([rows, rows[:1]])
    holds(index, np.arange(count + 1), rows, rows[[3, 17, 0, 5]])
    index.clear()
    index.add([4], rows[:1])
    holds(index, [4], rows[:1], rows[:3])


@pytest.mark.parametrize("count", [60, 700])
def test_equal_scores_stand_by_rising_id(index: Index, count: int) -> None:
    rows, ids = units(count), np.arange(count) + 5
    rows[10:50] = rows[9]
    index.add(ids[::-1], rows[::-1])
    found = index.search(rows[9:10], 4)
    assert found.ids.tolist() == [[14, 15, 16, 17]]
    assert index.search(rows[9:10], 45).ids[0, :41].tolist() == list(range(14, 55))


def test_rows_of_any_length(index: Index) -> None:
    rows = units(30) * np.logspace(-3, 1, 30, dtype=np.float32)[:, None]
    rows[4] = 0
    index.add(np.arange(30), rows)
    found = index.search(rows, 2)
    best, scores = by_sorting(np.arange(30), rows, rows, 2)
    np.testing.assert_array_equal(found.ids, best)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-6, atol=1e-9)


def test_the_bound_is_of_the_longest_row_whenever_it_came() -> None:
    """Rows that float32 cannot tell apart: a bound of the short row would let it decide."""
    rows, probes = near(units(1, 512).repeat(400, 0), 1e-6, seed=2), units(40, 512, seed=3)
    for short_first in (True, False):
        index = ExactIndex(512)
        for place, part in ((400, 1e-6 * rows[:1]), (0, rows))[:: 1 if short_first else -1]:
            index.add(np.arange(place, place + len(part)), part)
        index.remove([400])
        holds(index, range(400), rows, probes, 1)


def test_keeps_its_own_copy(index: Index) -> None:
    rows, ids = units(5), np.arange(5)
    index.add(ids, rows)
    before = rows.copy()
    rows[:], ids[:] = 0, 9
    holds(index, np.arange(5), before, before)


def test_recall_is_whole(index: Index) -> None:
    rows = units(700)
    index.add(np.arange(700), rows)
    found = measured_recall(index, near(rows[:50], 0.7), 5)
    assert (found.recall, found.high, found.k, found.probes) == (1, 1, 5, 50)
    assert found.low == pytest.approx(1 - 3 / 50)


def test_refuses(index: Index) -> None:
    rows = units(3)
    for bad in (np.nan, np.inf):
        broken = rows.copy()
        broken[1, 2] = bad
        with pytest.raises(ValueError, match="rows must be finite, got NaN or infinity"):
            index.add([0, 1, 2], broken)
        with pytest.raises(ValueError, match="probes must be finite"):
            index.search(broken, 1)
    broken = rows.copy()
    broken[1] = 1e19
    with pytest.raises(ValueError, match=r"rows must be shorter than 1.8e19, .* got row 1; divide"):
        index.add([0, 1, 2], broken)
    with pytest.raises(ValueError, match="probes must be shorter"):
        index.search(broken, 1)
    with pytest.raises(ValueError, match=r"rows must have shape \(n, 16\), got \(3, 8\)"):
        index.add([0, 1, 2], units(3, 8))
    with pytest.raises(ValueError, match=r"probes must have shape \(n, 16\), got \(16,\)"):
        index.search(rows[0], 1)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        index.search(rows, 0)
    with pytest.raises(ValueError, match="one for each of 3 rows, got 2"):
        index.add([0, 1], rows)
    with pytest.raises(ValueError, match="once each"):
        index.add([0, 1, 1], rows)
    with pytest.raises(ValueError, match=r"in \[0, 2\^63\), got -1"):
        index.add([0, -1, 1], rows)
    with pytest.raises(ValueError, match="whole numbers of shape"):
        index.add([0.5, 1, 2], rows)
    assert len(index) == 0
    with pytest.raises(ValueError, match="recall needs rows and probes, got 0 and 3"):
        measured_recall(index, rows)


def test_threads_add_remove_and_search(index: Index) -> None:
    rows = units(760)
    index.add(np.arange(700), rows[:700])
    seen: list[int] = []

    def work(start: int) -> None:
        for number in range(700 + start, 760, 3):
            index.add([number], rows[number : number + 1])
            seen.append(int(index.search(rows[:1], 1).ids[0, 0]))
            if number % 2:
                index.remove([number])

    threads = [threading.Thread(target=work, args=(start,)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [0] * 60
    left = [*range(700), *range(700, 760, 2)]
    holds(index, left, rows[left], rows[690:760])


@settings(max_examples=15)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    steps=st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 11), min_size=1)), max_size=8),
    seed=st.integers(0, 99),
)
def test_any_order_of_adding_and_removing(
    kind: str, steps: list[tuple[bool, set[int]]], seed: int
) -> None:
    """The model: a dict of rows. Few directions, so that ties abound."""
    index, held = KINDS[kind](4), dict[int, Rows]()
    generator = np.random.default_rng(seed)
    for is_added, chosen in steps:
        ids = sorted(chosen, key=lambda number: (number * 7) % 12)
        if is_added:
            rows = np.eye(4, dtype=np.float32)[generator.integers(4, size=len(ids))]
            index.add(ids, rows)
            held |= dict(zip(ids, rows, strict=True))
        elif there := [number for number in ids if number in held]:
            index.remove(there)
            held = {number: row for number, row in held.items() if number not in there}
    ids = list(held)
    rows = np.stack(list(held.values())) if held else np.empty((0, 4), np.float32)
    holds(index, ids, rows, np.eye(4, dtype=np.float32), k=3)
