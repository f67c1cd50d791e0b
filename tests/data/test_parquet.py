"""Parquet: foreign columns, row groups, and pyarrow that is not there."""

import sys
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marginface.data import convert_faces, open_encoded
from marginface.data.parquet import open_parquet
from marginface.errors import DataError, MissingExtraError
from tests.data.records import jpeg

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

PICTURES = [jpeg(seed) for seed in range(12)]


def write(path: Path, columns: dict[str, list[Any]], group: int = 5) -> Path:
    parquet.write_table(pyarrow.table(columns), path, row_group_size=group)
    return path


@pytest.mark.parametrize("is_struct", [False, True])
@pytest.mark.parametrize("kept_bytes", [1 << 20, 1500, 0])
def test_foreign_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_struct: bool, kept_bytes: int
) -> None:
    monkeypatch.setattr("marginface.data.parquet._KEPT_BYTES", kept_bytes)
    images = [{"bytes": one, "path": None} for one in PICTURES] if is_struct else PICTURES
    columns = {"image": images, "label": [3, 0] * 6, "extra": ["x"] * 12}
    faces = open_parquet(write(tmp_path / "a.parquet", columns))
    assert faces.identities == ["0000000", "0000003"]
    assert faces.labels.tolist() == [1, 0] * 6
    assert faces.names[2] == "0000003/0000003_000000002.jpg"
    # Back and forth over more row groups than are kept.
    order = [11, 0, 6, 1, 11, 5, 4]
    assert list(faces.stored(order)) == [PICTURES[row] for row in order]
    with pytest.raises(IndexError, match=r"\[0, 12\)|out of bounds"):
        faces.stored([12])


def test_several_files_and_many_groups(tmp_path: Path) -> None:
    for number in (1, 0):
        part = slice(6 * number, 6 * number + 6)
        columns = {"image": PICTURES[part], "identity": ["a", "b"] * 3, "name": ["b/7.png"] * 6}
        write(tmp_path / f"p{number}.parquet", columns, group=1)
    faces = open_encoded(tmp_path)
    assert faces.kind == "parquet"
    assert list(faces.stored(range(12))) == PICTURES
    # A name that does not begin with the identity is made anew.
    assert faces.names[:2] == ["a/a_000000000.jpg", "b/7.png"]


@pytest.mark.parametrize(("kept_bytes", "reads"), [(1 << 20, 3), (0, 6)])
def test_row_groups_are_read_once_while_memory_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_bytes: int, reads: int
) -> None:
    monkeypatch.setattr("marginface.data.parquet._KEPT_BYTES", kept_bytes)
    faces = open_parquet(write(tmp_path / "a.parquet", {"image": PICTURES, "label": [1] * 12}))
    opened = []
    monkeypatch.setattr(
        parquet,
        "ParquetFile",
        lambda file, _plain=parquet.ParquetFile: opened.append(file) or _plain(file),
    )
    for _ in range(2):
        faces.stored([11, 0, 7, 1, 10, 6])
    assert len(opened) == reads


class _Sleepy(OrderedDict[int, Any]):
    """A dict that lets the other threads run whenever it has taken something."""

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        time.sleep(1e-3)


def test_threads_may_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one row group kept, so that one thread drops what another is about to look at."""
    monkeypatch.setattr("marginface.data.parquet.OrderedDict", _Sleepy)
    monkeypatch.setattr("marginface.data.parquet._KEPT_BYTES", 0)
    columns = {"image": PICTURES, "label": [1] * 12}
    faces = open_parquet(write(tmp_path / "a.parquet", columns, group=1))
    orders = [np.random.default_rng(seed).permutation(12) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for order, contents in zip(orders, pool.map(faces.stored, orders), strict=True):
            assert list(contents) == [PICTURES[row] for row in order.tolist()]


def test_names_that_stand_twice_are_found_when_converting(tmp_path: Path) -> None:
    columns = {"image": PICTURES, "identity": ["b"] * 12, "name": ["b/7.png"] * 12}
    write(tmp_path / "a.parquet", columns)
    with pytest.raises(DataError, match="must hold 12 pictures, got 1; names may clash"):
        convert_faces(tmp_path / "a.parquet", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"image": [b"x"]}, "must have the columns image, and identity or label, got image"),
        ({"picture": [b"x"], "label": [1]}, "must have the columns image, .* got picture, label"),
        ({"image": [b"x"] * 2, "label": [1, -1]}, "row 1: label must be a whole number, got -1"),
        ({"image": [b"x"], "label": [None]}, "row 0: label must be a whole number, got None"),
        ({"image": [b"x"], "identity": ["../up"]}, "a name must be 'identity/picture' of"),
        ({"image": [], "label": []}, "must hold rows, got none in 1 Parquet files"),
    ],
)
def test_columns_that_do_not_fit_are_told(
    tmp_path: Path, columns: dict[str, list[Any]], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        open_parquet(write(tmp_path / "a.parquet", columns))


def test_broken_files_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"image": PICTURES, "label": [1] * 12})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a.parquet must be a Parquet file \("):
        open_parquet(path)
    with pytest.raises(DataError, match=r"absent.parquet must be a Parquet file"):
        open_parquet(tmp_path / "absent.parquet")


def test_an_empty_picture_is_named(tmp_path: Path) -> None:
    faces = open_parquet(write(tmp_path / "a.parquet", {"image": [None], "label": [1]}))
    with pytest.raises(DataError, match=r"0000001_000000000.jpg must be a picture, got an empty"):
        faces.read([0])


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.parquet", {"image": PICTURES, "label": [1] * 12})
    (tmp_path / "people" / "anna").mkdir(parents=True)
    (tmp_path / "people" / "anna" / "1.jpg").write_bytes(PICTURES[0])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    told = r"needs pyarrow, which is not installed; pip install 'marginface\[parquet\]'"
    with pytest.raises(MissingExtraError, match=told):
        open_encoded(tmp_path / "a.parquet")
    with pytest.raises(MissingExtraError, match=told):
        convert_faces(tmp_path / "people", tmp_path / "b.parquet")
