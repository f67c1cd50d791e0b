"""A gallery means the same whatever index it is searched in."""

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from marginface.errors import DataError, IndexMismatchError
from marginface.recognition import Candidate, Gallery
from marginface.search import ExactIndex, FaissIndex, Index
from tests.search.indices import KINDS, near, units

Make = Callable[[], Index]


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Make:
    return lambda: KINDS[request.param](16)


def people(count: int, index: Index | None = None) -> Gallery:
    gallery = Gallery(model="made", cards=units(4, seed=50), index=index)
    for number, row in enumerate(units(count)):
        gallery.add(f"person {number}", row)
    return gallery


def same(one: Gallery, other: Gallery, k: int = 3) -> None:
    """Compare what both answer; ties must stand alike."""
    assert one.names == other.names
    probes = np.concatenate([near(units(30), 0.5), units(30, seed=7)])
    for mine, its in zip(one.search_many(probes, k=k), other.search_many(probes, k=k), strict=True):
        assert [each.name for each in mine] == [each.name for each in its]
        np.testing.assert_allclose(
            [each.score for each in mine], [each.score for each in its], atol=1e-7
        )


@pytest.mark.parametrize("count", [30, 700])
def test_same_answers_after_every_change(make: Make, count: int) -> None:
    gallery, exact = people(count, make()), people(count)
    same(gallery, exact)
    for each in (gallery, exact):
        each.add("person 3", units(2, seed=4))  # changes the template
        each.add("twin of 5", units(count)[5])  # ties with it, enrolled later
        each.remove("person 7")
        each.add("person 7", units(count)[7])  # now the last of all
        each.remove("person 0")
        each.add("once more", units(1))
    same(gallery, exact)
    probe = units(count)[5]
    assert [each.name for each in gallery.search(probe, k=2)] == ["person 5", "twin of 5"]
    assert gallery.search(units(count)[5], threshold=1.0) == [Candidate(name="person 5", score=1)]
    assert gallery.search(probe, threshold=1.1) == []


def test_a_kept_index_fits_the_file_again(make: Make, tmp_path: Path) -> None:
    """The numbers of people stay theirs through removals and files."""
    index = make()
    gallery = people(20, index)
    gallery.remove("person 3")
    gallery.add("person 3", units(1, seed=3))
    gallery.remove("person 9")
    gallery.save(tmp_path / "g")
    again = Gallery.load(tmp_path / "g", index=index)
    same(again, gallery)
    again.remove("person 19")
    again.add("new", units(1, seed=8))
    again.save(tmp_path / "g")
    same(Gallery.load(tmp_path / "g", index=index), again)
    same(Gallery.load(tmp_path / "g", index=make()), again)
    same(Gallery.load(tmp_path / "g"), again)
    assert len(index) == len(again)


def test_a_stale_index_is_refused(make: Make, tmp_path: Path) -> None:
    index = make()
    people(20, index).save(tmp_path / "g")
    told = r"templates of these \d+ people, got 20 of another state of the gallery; build it anew"
    changes: list[Callable[[Gallery], object]] = [
        lambda other: other.add("new", units(1, seed=8)),
        lambda other: other.add("person 3", units(1, seed=8)),
        lambda other: other.remove("person 19"),
    ]
    for change in changes:
        other = Gallery.load(tmp_path / "g")
        change(other)
        with pytest.raises(IndexMismatchError, match=told):
            other.search_in(index)
        other.save(tmp_path / "g2")
        with pytest.raises(IndexMismatchError, match=told):
            Gallery.load(tmp_path / "g2", index=index)
    with pytest.raises(IndexMismatchError, match="these 0 people, got 20"):
        Gallery(model="made", cards=units(4), index=index)
    index.clear()
    same(Gallery.load(tmp_path / "g", index=index), people(20))


def test_a_template_is_the_same_on_every_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """By OpenBLAS three lengths of ten differ in the last digit between kinds of processor."""
    gallery = people(3)
    gallery.add("person 1", units(4, seed=9))
    rows = np.concatenate([units(3)[1:2], units(4, seed=9)]).astype(np.float64)
    added = [math.fsum(column) for column in rows.T]
    length = math.sqrt(math.fsum(each * each for each in added))
    monkeypatch.setattr(np.linalg, "norm", lambda *_, **__: pytest.fail("the processor's algebra"))
    expected = [each / length for each in added]
    np.testing.assert_allclose(gallery.template_of("person 1"), expected, rtol=1e-7)


def test_an_index_of_other_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="index must hold rows of 16 numbers, got 8"):
        Gallery(model="made", cards=units(4), index=ExactIndex(8))
    gallery = people(3, index := ExactIndex(16))
    index.add([77], units(1, seed=9))
    with pytest.raises(IndexMismatchError, match="got one the gallery does not know"):
        gallery.search(units(1, seed=9)[0])
    # Who was removed is named by nobody, even if the index still holds the row.
    gallery = people(3, index := ExactIndex(16))
    gallery.remove("person 2")
    index.add([2], units(3)[2:])
    with pytest.raises(IndexMismatchError, match="got one the gallery does not know"):
        gallery.search(units(3)[2])


def test_an_index_that_refuses_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = people(3, index := ExactIndex(16))

    def refuse(*given: object) -> None:
        raise OSError("the line is cut")

    monkeypatch.setattr(index, "_add", refuse)
    monkeypatch.setattr(index, "_remove", refuse)
    with pytest.raises(OSError, match="cut"):
        gallery.add("new", units(1, seed=8))
    with pytest.raises(OSError, match="cut"):
        gallery.add("person 1", units(1, seed=8))
    with pytest.raises(OSError, match="cut"):
        gallery.remove("person 2")
    monkeypatch.undo()
    same(gallery, people(3))
    gallery.search_in(index)
    gallery.add("new", units(1, seed=8))
    assert gallery.search(units(1, seed=8)[0])[0].name == "new"


def test_who_was_half_enrolled_is_named_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may do what it was asked and fail to say so."""
    gallery = people(3, index := ExactIndex(16))
    real = index._add

    def add_and_fail(ids: Any, rows: Any) -> None:
        real(ids, rows)
        raise OSError("the line is cut")

    monkeypatch.setattr(index, "_add", add_and_fail)
    with pytest.raises(OSError, match="cut"):
        gallery.add("new", units(1, seed=8))
    with pytest.raises(IndexMismatchError, match="an addition failed; build it anew"):
        gallery.search(units(1, seed=8)[0])


def test_who_is_removed_is_in_no_file(tmp_path: Path) -> None:
    index = FaissIndex(16, smallest=640)
    gallery = people(700, index)
    gallery.search(units(1)[0])
    gallery.remove("person 5")
    gallery.save(tmp_path / "g")
    index.save(tmp_path / "i")
    row = units(700)[5].tobytes()
    assert row not in (tmp_path / "g").read_bytes()
    assert row not in (tmp_path / "i").read_bytes()
    same(Gallery.load(tmp_path / "g", index=FaissIndex.load(tmp_path / "i")), gallery)


def test_threads_share_it(make: Make) -> None:
    gallery = people(100, make())
    rows, seen = units(730, seed=1), list[str]()

    def work(start: int) -> None:
        for number in range(700 + start, 730, 3):
            gallery.add(str(number), rows[number])
            seen.append(gallery.search(units(1)[0])[0].name)
            gallery.search(rows[number], k=3)
            gallery.remove(str(number))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["person 0"] * 30
    same(gallery, people(100))


@pytest.mark.parametrize("numbers", [[0, 0, 1], [-1, 1, 2], [2, 1, 3]])
def test_refuses_files_whose_numbers_do_not_rise(numbers: list[int], tmp_path: Path) -> None:
    gallery = people(4)
    gallery.remove("person 1")
    gallery.save(tmp_path / "g")
    held = load_file(tmp_path / "g")
    assert held["numbers"].tolist() == [0, 2, 3]
    about = (
        '{"kind": "gallery", "format": 2, "model": "made", '
        '"names": ["person 0", "person 2", "person 3"]}'
    )
    save_file(held | {"numbers": np.array(numbers)}, tmp_path / "bad", {"marginface": about})
    with pytest.raises(DataError, match="do not rise from 0 on; the file was altered"):
        Gallery.load(tmp_path / "bad")


def test_a_gallery_without_gaps_is_written_as_before(tmp_path: Path) -> None:
    people(3).save(tmp_path / "g")
    assert sorted(load_file(tmp_path / "g")) == ["cards", "counts", "embeddings"]
    assert b'"format\\": 1' in (tmp_path / "g").read_bytes()
