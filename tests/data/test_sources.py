from pathlib import Path

import numpy as np
import pytest

from marginface.data import ImageSource, convert_faces, open_images
from marginface.errors import DataError
from tests.data.made import make_pack, save, smooth_image


def make_folder(root: Path) -> Path:
    for number, name in enumerate(["b/b_0002.JPG", "a/a_0001.png", "b/b_0001.bmp"]):
        save(root / name, smooth_image(number, 10 + number))
    (root / ".hidden").mkdir()
    save(root / ".hidden" / "x.png", smooth_image(0))
    save(root / "a" / ".thumb.png", smooth_image(0))
    (root / "a" / "notes.txt").write_text("")
    (root / "pairs.txt").write_text("")
    (root / "empty").mkdir()
    return root


def test_folder_in_sorted_order(tmp_path: Path) -> None:
    source = open_images(make_folder(tmp_path / "set"))
    assert source.names == ["a/a_0001.png", "b/b_0001.bmp", "b/b_0002.JPG"]
    assert source.identities == ["a", "b"]
    assert source.labels.tolist() == [0, 1, 1]
    assert not source.is_aligned
    assert source.left_out == [("a/notes.txt", "not a picture", "ending")]
    images = source.read([1, 0])
    assert [image.shape for image in images] == [(12, 12, 3), (11, 11, 3)]
    np.testing.assert_array_equal(images[1], smooth_image(1, 11))


def test_a_pack_reads_alike(tmp_path: Path) -> None:
    source = open_images(make_pack(tmp_path / "a.pack").path)
    assert source.is_aligned
    assert len(source.read([0, 1])) == 2
    for kind in (source, open_images(make_folder(tmp_path / "set"))):
        assert isinstance(kind, ImageSource)


@pytest.mark.parametrize("target", ["a.rec", "a.tar", "a.parquet"])
def test_other_formats_read_alike(target: str, tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "a.pack")
    convert_faces(pack.path, tmp_path / target, encoding="png")
    source = open_images(tmp_path / target)
    assert isinstance(source, ImageSource)
    where = [source.names.index(name) for name in pack.names]
    np.testing.assert_array_equal(source.read(where), pack.read(np.arange(len(pack))))
    assert source.identities == pack.identities
    np.testing.assert_array_equal(source.labels[where], pack.labels)


def test_folder_refuses(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent must be a folder .*, got nothing there"):
        open_images(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="must be a folder with one folder per person, got a file"):
        open_images(tmp_path / "file")
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match=r"must hold set/PERSON/PICTURE.jpg, got no pictures"):
        open_images(tmp_path / "set")
    save(tmp_path / "set" / "a.png", smooth_image(0))
    with pytest.raises(DataError, match="got 1 pictures without a folder for each person"):
        open_images(tmp_path / "set")
    (tmp_path / "other" / "a").mkdir(parents=True)
    (tmp_path / "other" / "a" / "a.heic").write_text("")
    with pytest.raises(DataError, match=r"got 1 files that are no pictures \(a/a.heic"):
        open_images(tmp_path / "other")


def test_broken_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a_0001.jpg").write_text("no picture")
    source = open_images(tmp_path)
    with pytest.raises(DataError, match=r"a/a_0001.jpg must be a JPEG"):
        source.read([0])
