"""Who is inside together, and who waits."""

import hashlib
import threading

import numpy as np
import pytest

from marginface.search import fingerprint_of
from marginface.search.turns import Turns
from tests.search.indices import units

SHORT_S = 0.05


def test_readers_are_inside_together() -> None:
    turns, meeting = Turns(), threading.Barrier(3, timeout=5)

    def read() -> None:
        with turns.reading():
            meeting.wait()

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not meeting.broken


@pytest.mark.parametrize("first", ["reading", "writing"])
def test_a_writer_is_inside_alone(first: str) -> None:
    turns, inside = Turns(), threading.Event()

    def write() -> None:
        with turns.writing():
            inside.set()

    thread = threading.Thread(target=write)
    with getattr(turns, first)():
        thread.start()
        assert not inside.wait(SHORT_S)
    thread.join(5)
    assert inside.is_set()


def test_readers_wait_behind_a_writer() -> None:
    turns, order = Turns(), list[str]()

    def enter(door: str) -> None:
        with getattr(turns, door)():
            order.append(door)

    threads = [threading.Thread(target=enter, args=(door,)) for door in ("writing", "reading")]
    with turns.reading():
        for thread in threads:
            thread.start()
            thread.join(SHORT_S)
        assert order == []
    for thread in threads:
        thread.join(5)
    assert order == ["writing", "reading"]


def test_an_error_inside_leaves_the_doors_open() -> None:
    turns = Turns()
    for door in (turns.reading, turns.writing):
        with pytest.raises(KeyError), door():
            raise KeyError
    with turns.writing():
        pass


@pytest.mark.parametrize("count", [1, 2, 5, 20, 21, 22])
def test_the_fingerprint_by_hand(count: int) -> None:
    rows, total = units(count), 0
    for number, row in enumerate(rows):
        content = number.to_bytes(8, "little") + b"".join(value.tobytes() for value in row)
        total += int.from_bytes(hashlib.sha256(content).digest(), "big")
    assert fingerprint_of(range(count), rows) == f"{total % 2**256:064x}"


def test_the_fingerprint_sees_every_number_and_no_order() -> None:
    rows = units(20)
    other, swapped = rows.copy(), [1, 0, *range(2, 20)]
    other[3, 5] = np.nextafter(other[3, 5], np.float32(2))
    assert fingerprint_of(range(20), other) != fingerprint_of(range(20), rows)
    assert fingerprint_of(swapped, rows) != fingerprint_of(range(20), rows)
    assert fingerprint_of(swapped, rows[swapped]) == fingerprint_of(range(20), rows)
