"""Shards: foreign ones, what is left out, and what is broken."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from marginface.data.webdataset import open_webdataset
from marginface.errors import DataError
from tests.data.records import jpeg


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_foreign_samples(tmp_path: Path) -> None:
    members = {
        "x/0001.cls": b"7\n",
        "x/0001.jpg": jpeg(0),
        "x/0002.seg.png": b"mask",
        "x/0002.PNG": jpeg(1),
        "x/0002.cls": b"0",
        "named.json": json.dumps({"identity": "anna", "age": 3}).encode(),
        "named.webp": jpeg(2),
        "numbered.jpeg": jpeg(3),
        "numbered.json": json.dumps({"label": 7}).encode(),
        "no_label.jpg": jpeg(4),
        "no_picture.cls": b"3",
    }
    faces = open_webdataset(write_tar(tmp_path / "a.tar", members))
    assert faces.names == [
        "0000007/x_0001.jpg",
        "0000000/x_0002.PNG",
        "anna/named.webp",
        "0000007/numbered.jpeg",
    ]
    assert faces.identities == ["0000000", "0000007", "anna"]
    assert faces.labels.tolist() == [1, 0, 2, 1]
    assert [bytes(content) for content in faces.stored([3, 1])] == [jpeg(3), jpeg(1)]
    assert faces.left_out == [
        ("a.tar:no_label", "no label", "WebDataset"),
        ("a.tar:no_picture", "no picture", "WebDataset"),
    ]


def test_shards_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        write_tar(tmp_path / f"s-{number}.tar", {"k.jpg": jpeg(number), "k.cls": b"%d" % number})
    faces = open_webdataset(tmp_path)
    assert [bytes(content) for content in faces.stored(range(3))] == [jpeg(0), jpeg(1), jpeg(2)]
    assert faces.labels.tolist() == [0, 1, 2]


def test_a_name_in_a_sample_cannot_lead_elsewhere(tmp_path: Path) -> None:
    for words in ({"identity": "../x"}, {"identity": "x", "name": "x/../../y.jpg"}):
        members = {"a.jpg": jpeg(0), "a.json": json.dumps(words).encode()}
        with pytest.raises(DataError, match="a name must be 'identity/picture' of"):
            open_webdataset(write_tar(tmp_path / "a.tar", members))


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"a.jpg": b"x", "a.cls": b"seven"}, r"a.cls must hold a whole number, got b'seven'"),
        ({"a.jpg": b"x", "a.json": b"{"}, "a.json must hold JSON"),
        ({"a.jpg": b"x", "a.json": b'{"name": "a/1.jpg"}'}, "a must have a label or an identity"),
        ({"a.jpg": b"x", "b.cls": b"1"}, "must hold samples of a picture and a label .* got 2 oth"),
        ({}, "must hold samples of a picture and a label .* got 0 others in 1 tar files"),
    ],
)
def test_samples_that_say_nothing_are_told(
    tmp_path: Path, members: dict[str, bytes], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        open_webdataset(write_tar(tmp_path / "a.tar", members))


def test_broken_shards_are_told(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.cls": b"1", "a.jpg": jpeg(0) * 3})
    content = path.read_bytes()
    path.write_bytes(content[:2000])
    told = r"a.tar: a.jpg \(byte 1,536\) must take [\d,]+ bytes, but the file ends after 2,000; it"
    with pytest.raises(DataError, match=told):
        open_webdataset(path)
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(DataError, match=r"a.tar must be an uncompressed tar file"):
        open_webdataset(path)
    write_tar(path, {"a.cls": b"1", "a.jpg": jpeg(0)}, "w:gz")
    with pytest.raises(DataError, match=r"a.tar must be an uncompressed tar file"):
        open_webdataset(path)
