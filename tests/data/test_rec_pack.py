"""insightface's record sets: header record, labels as floats, cut records, names, broken files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from marginface.data import BatchLoader, EncodedFaces
from marginface.data.rec_pack import open_rec
from marginface.errors import DataError
from tests.data.records import MAGIC, write_rec


@pytest.mark.parametrize("is_array", [False, True])
@pytest.mark.parametrize("has_header", [False, True])
@pytest.mark.parametrize("has_index", [False, True])
def test_pictures_and_labels(
    tmp_path: Path, is_array: bool, has_header: bool, has_index: bool
) -> None:
    path = tmp_path / "a.rec"
    # A picture that holds the magic at a multiple of 4, and one that holds it elsewhere.
    pictures = write_rec(
        path,
        has_header=has_header,
        is_array=is_array,
        extra={2: MAGIC * 9, 5: b"x" + MAGIC, 7: b"xy" + MAGIC, 8: b"xyz" + MAGIC},
    )
    if not has_index:
        path.with_suffix(".idx").unlink()
    faces = open_rec(path)
    assert [bytes(content) for content in faces.stored(range(12))] == pictures
    assert faces.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert faces.identities == ["0000000", "0000001", "0000002"]
    assert faces.names[4:6] == ["0000001/0000001_0001.jpg", "0000001/0000001_0002.jpg"]
    assert faces.meta["has_header"] is has_header
    assert [bytes(content) for content in faces.stored([7, 2])] == [pictures[7], pictures[2]]


@pytest.fixture(scope="module", params=[{}, {2: MAGIC * 9, 5: b"x" + MAGIC}])
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[EncodedFaces, list[bytes]]:
    """A set of 12 pictures, without and with records that are cut, and its pictures."""
    path = tmp_path_factory.mktemp("rec") / "a.rec"
    pictures = write_rec(path, extra=request.param)
    return open_rec(path), pictures


@given(rows=st.lists(st.integers(-12, 11), max_size=20), data=st.data())
def test_records_are_a_sequence(
    written: tuple[EncodedFaces, list[bytes]], rows: list[int], data: st.DataObject
) -> None:
    faces, pictures = written
    found, expected = faces.stored(rows), [pictures[row] for row in rows]
    assert [bytes(content) for content in found] == expected
    assert len(found) == len(expected)
    part = data.draw(st.slices(len(rows)))
    assert [bytes(content) for content in found[part]] == expected[part]
    if rows:
        place = data.draw(st.integers(-len(rows), len(rows) - 1))
        assert bytes(found[place]) == expected[place]
    with pytest.raises(IndexError):
        found[len(rows)]
    with pytest.raises(IndexError):
        faces.stored([*rows, 12])


def test_pictures_come_in_the_order_of_their_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    pictures = write_rec(path)
    lines = path.with_suffix(".idx").read_text().splitlines(keepends=True)
    path.with_suffix(".idx").write_text("".join(reversed(lines)))
    assert [bytes(content) for content in open_rec(path).stored(range(12))] == pictures


def test_gaps_in_the_labels_are_closed_and_kept_in_the_names(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    write_rec(path, each=1, has_header=False, labels=np.float32([40, 2, 40]))
    faces = open_rec(path)
    assert faces.labels.tolist() == [1, 0, 1]
    assert faces.identities == ["0000002", "0000040"]
    assert faces.names[2] == "0000040/0000040_0002.jpg"


@pytest.mark.parametrize("label", [-1.0, 0.5, np.nan, np.inf, 2.0**25])
def test_a_label_that_is_none_names_record_and_byte(tmp_path: Path, label: float) -> None:
    path = tmp_path / "a.rec"
    write_rec(path, each=1, labels=np.float32([0, label, 1]))
    with pytest.raises(DataError, match=r"a.rec record 2 \(byte \d+\): the label must be a whole"):
        open_rec(path)


def test_a_label_beyond_the_classes_names_record_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    write_rec(path, each=1, labels=np.float32([0, 3, 1]))
    told = r"record 2 \(byte \d+\): the label must lie below the 3 classes promised, got 3"
    with pytest.raises(DataError, match=told):
        open_rec(path)
    assert len(open_rec(path, classes=4)) == 3
    (tmp_path / "train").mkdir()
    path = tmp_path / "train" / "train.rec"
    write_rec(path, has_header=False)
    path.with_name("property").write_text("3,16,16")
    assert len(open_rec(path)) == 12
    path.with_name("property").write_text("2,16,16")
    with pytest.raises(DataError, match=r"record 9 .* below the 2 classes promised, got 2"):
        open_rec(path)
    path.with_name("property").write_text("many")
    with pytest.raises(DataError, match="must hold 'classes,height,width', got 'many'"):
        open_rec(path)


def test_an_index_shorter_than_the_header_promises_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    write_rec(path)
    lines = path.with_suffix(".idx").read_text().splitlines(keepends=True)
    path.with_suffix(".idx").write_text("".join(lines[:5] + lines[6:]))
    with pytest.raises(
        DataError, match=r"record 0 .*promises 12 pictures, got 11; the .idx is cut"
    ):
        open_rec(path)


def test_names_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    write_rec(path, each=2, people=2)
    listed = [
        "1\t0.0\tzoe/z1.jpg",
        "2\t0.0\tzoe/z2.jpg",
        "4\t1.0\tann/a2.jpg",
        "3\t1.0\tx/ann/a1.jpg",
    ]
    path.with_suffix(".lst").write_text("\n".join(listed))
    faces = open_rec(path)
    assert faces.identities == ["ann", "zoe"]
    assert faces.names == ["zoe/z1.jpg", "zoe/z2.jpg", "ann/a1.jpg", "ann/a2.jpg"]
    assert faces.labels.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["1\t0\ta/1.jpg", "2\t0\ta/2.jpg", "3\t1\tb/1.jpg"], "must name record 4, but does not"),
        (["1\t0\ta/1.jpg", "b"], "line 2: a record must be 'key TAB label TAB identity/picture'"),
        (
            ["1\t0\ta/1.jpg", "2\t0\tb/2.jpg", "3\t1\tb/1.jpg", "4\t1\tb/2.jpg"],
            "must give each label a folder of its own",
        ),
        (
            ["1\t0\ta/1.jpg", "2\t0\ta/2.jpg", "3\t1\ta/3.jpg", "4\t1\ta/4.jpg"],
            "must give each label a folder of its own",
        ),
    ],
)
def test_a_list_that_does_not_fit_is_told(tmp_path: Path, lines: list[str], told: str) -> None:
    path = tmp_path / "a.rec"
    write_rec(path, each=2, people=2)
    path.with_suffix(".lst").write_text("\n".join(lines))
    with pytest.raises(DataError, match=told):
        open_rec(path)


def test_a_network_trains_on_it_as_on_a_pack(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    write_rec(path)
    faces = open_rec(path)
    assert faces.size == (16, 16)
    with BatchLoader(faces, batch_size=4, workers=1) as loader:
        batch = next(loader)
    assert batch.images.shape == (4, 3, 16, 16)
    part = faces.subset({"0000002", "0000001"})
    assert part.labels.tolist() == [0] * 4 + [1] * 4
    assert part.names == faces.names[4:]
    assert (part.read([0]) == faces.read([4])).all()
    assert len({part.fingerprint, faces.fingerprint, faces.subset({"0000001"}).fingerprint}) == 3
    assert open_rec(path).fingerprint == faces.fingerprint
    with pytest.raises(DataError, match="identities must name some of"):
        faces.subset({"nobody"})


@pytest.mark.parametrize("cache_bytes", [1 << 20, 0])
def test_a_loader_decodes_once_where_memory_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_bytes: int
) -> None:
    write_rec(tmp_path / "a.rec")
    faces = open_rec(tmp_path / "a.rec")
    decoded: list[int] = []
    read = faces.read

    def counted(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        decoded.extend(indices.tolist())
        return read(indices)

    monkeypatch.setattr(faces, "read", counted)
    with BatchLoader(faces, batch_size=4, workers=0, cache_bytes=cache_bytes) as loader:
        for _ in range(9):
            next(loader)
    assert sorted(decoded) == sorted(list(range(12)) * (1 if cache_bytes else 3))


def test_mirrored_pictures_and_a_broken_one(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    write_rec(path)
    faces = open_rec(path)
    plain = faces.read([3, 1])
    turned = faces.read([3, 1], is_mirrored=np.array([False, True]))
    assert (turned[0] == plain[0]).all()
    assert (turned[1] == plain[1, :, ::-1]).all()
    write_rec(path, extra={6: b"tail"})
    content = path.read_bytes()
    offset = content.index(b"tail")
    # The end mark of picture 7 is lost, and with it the proof that it is whole.
    path.write_bytes(content[: offset - 2] + b"\0\0" + content[offset:])
    with pytest.raises(DataError, match=r"a.rec: 0000001/0000001_0003.jpg is cut off"):
        open_rec(path).read([0, 6])
