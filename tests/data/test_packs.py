import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marginface.data import PackedFaces, PackWriter, is_pack
from marginface.data.encodings import ENCODINGS
from marginface.errors import CheckpointWriteError, DataError
from tests.data.made import full_disk_after, make_pack, smooth_image


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_written_is_read(tmp_path: Path, encoding: str) -> None:
    pack = make_pack(tmp_path / "a.pack", encoding=encoding, size=32)
    assert len(pack) == 20
    assert pack.identities == ["p0", "p1", "p2", "p3"]
    assert pack.size == (32, 32)
    assert pack.meta == {"made": True}
    assert [pack.identities[label] for label in pack.labels] == [
        n.split("/")[0] for n in pack.names
    ]
    np.testing.assert_array_equal(pack.truth["number"], np.arange(20))
    asked = [7, 0, 7, 19]
    images = pack.read(asked)
    assert images.shape == (4, 32, 32, 3)
    for image, number in zip(images, asked, strict=True):
        difference = np.abs(image.astype(int) - smooth_image(number, 32))
        assert difference.max() <= (40 if encoding == "jpeg" else 0)
        assert difference.mean() < 4
    pack.verify()


def test_reading_is_of_the_callers_own(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "a.pack")
    images = pack.read([0])
    images[:] = 0
    np.testing.assert_array_equal(pack.read([0])[0], smooth_image(0))
    assert pack.read([]).shape == (0, 16, 16, 3)
    assert pack.read(np.array([-1])).shape == (1, 16, 16, 3)
    with pytest.raises(IndexError):
        pack.read([20])


def test_index_of(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "a.pack")
    assert [pack.index_of(name) for name in pack.names] == list(range(20))
    with pytest.raises(DataError, match=r"image 'x/x_0001.png' not found in .*a.pack of 20 images"):
        pack.index_of("x/x_0001.png")


def test_subset(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "a.pack")
    part = pack.subset(["p3", "absent", "p1"])
    assert part.identities == ["p1", "p3"]
    assert len(part) == 10
    owners = [part.identities[label] for label in part.labels]
    assert owners == [name.split("/")[0] for name in part.names]
    for index in range(len(part)):
        whole = pack.index_of(part.names[index])
        np.testing.assert_array_equal(part.read([index]), pack.read([whole]))
        assert part.truth["number"][index] == whole
    again = part.subset(["p3"])
    np.testing.assert_array_equal(again.read([0]), part.read([part.index_of(again.names[0])]))
    prints = {p.fingerprint for p in (pack, part, again, pack.subset(["p0"]))}
    assert len(prints) == 4
    assert part.fingerprint == pack.subset(["p1", "p3"]).fingerprint
    with pytest.raises(DataError, match=r"identities must name some of .*got 1 others \(nobody"):
        pack.subset(["nobody"])


def test_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    first = make_pack(tmp_path / "a.pack")
    assert first.fingerprint == make_pack(tmp_path / "elsewhere" / "b.pack").fingerprint
    assert first.fingerprint != make_pack(tmp_path / "c.pack", each=4).fingerprint
    assert first.fingerprint != make_pack(tmp_path / "d.pack", encoding="png").fingerprint


def test_altered_pack_is_noticed(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "a.pack")
    with (tmp_path / "a.pack" / "images.bin").open("r+b") as file:
        file.seek(100)
        byte = file.read(1)[0]
        file.seek(100)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(DataError, match="it was altered, make it again"):
        pack.verify()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=12))
def test_labels_are_sorted_whatever_the_order(owners: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with PackWriter(Path(folder) / "p", size=2) as writer:
            for number, owner in enumerate(owners):
                writer.add(np.zeros((2, 2, 3), np.uint8), owner, f"{owner}/{number}.png")
        pack = PackedFaces.open(Path(folder) / "p")
        assert pack.identities == sorted(set(owners))
        assert [pack.identities[label] for label in pack.labels] == owners


def fill_and_fail(target: PackWriter) -> None:
    with target as writer:
        writer.add(smooth_image(0), "a", "a/a_0001.png")
        raise RuntimeError


def test_nothing_appears_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        fill_and_fail(PackWriter(tmp_path / "a.pack", size=16))
    assert list(tmp_path.iterdir()) == []


def test_replacing_needs_leave_and_keeps_the_old_until_the_end(tmp_path: Path) -> None:
    old = make_pack(tmp_path / "a.pack")
    with pytest.raises(DataError, match=r"a.pack is a pack already; give another name"):
        PackWriter(tmp_path / "a.pack", size=16)
    with pytest.raises(RuntimeError):
        fill_and_fail(PackWriter(tmp_path / "a.pack", size=16, may_replace=True))
    assert PackedFaces.open(tmp_path / "a.pack").fingerprint == old.fingerprint
    assert len(make_pack(tmp_path / "a.pack", each=1, may_replace=True)) == 4
    assert [file.name for file in tmp_path.iterdir()] == ["a.pack"]


def test_a_refused_rename_brings_the_old_pack_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_pack(tmp_path / "a.pack")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(CheckpointWriteError, match=r"\(No space left on device\); .* untouched"):
        make_pack(tmp_path / "a.pack", each=1, may_replace=True)
    assert PackedFaces.open(tmp_path / "a.pack").fingerprint == old.fingerprint
    assert [file.name for file in tmp_path.iterdir()] == ["a.pack"]


def test_other_folders_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dear.jpg").write_text("")
    with pytest.raises(DataError, match="must be a new folder or a pack, got something else"):
        PackWriter(tmp_path / "photos", size=16, may_replace=True)
    assert (tmp_path / "photos" / "dear.jpg").exists()
    (tmp_path / "empty").mkdir()
    assert is_pack(make_pack(tmp_path / "empty").path)


def fill(target: PackWriter, image: NDArray[np.uint8]) -> None:
    with target as writer:
        for number in range(20):
            writer.add(image, "a", f"a/a_{number:04d}.png")


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_full_disk(tmp_path: Path, encoding: str) -> None:
    old = make_pack(tmp_path / "a.pack")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    target = PackWriter(tmp_path / "a.pack", size=64, encoding=encoding, may_replace=True)
    message = r"a.pack could not be written after .* untouched"
    with full_disk_after(60_000), pytest.raises(CheckpointWriteError, match=message):
        fill(target, image)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pack"]
    PackedFaces.open(tmp_path / "a.pack").verify()
    assert PackedFaces.open(tmp_path / "a.pack").fingerprint == old.fingerprint


def test_rights(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CheckpointWriteError, match="could not be written after 0 images"),
        PackWriter(tmp_path / "file" / "a.pack", size=16),
    ):
        pass


def test_a_pack_that_was_moved_away_when_its_writer_was_killed_comes_back(tmp_path: Path) -> None:
    old = make_pack(tmp_path / "a.pack")
    moved = tmp_path / ".a.pack.4194305.old"  # no process has this number
    (tmp_path / "a.pack").rename(moved)
    with pytest.raises(DataError, match=r"a\.pack is a pack already"):
        PackWriter(tmp_path / "a.pack")
    assert PackedFaces.open(tmp_path / "a.pack").fingerprint == old.fingerprint
    shutil.copytree(tmp_path / "a.pack", moved)
    make_pack(tmp_path / "a.pack", may_replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pack"]


def test_a_picture_that_does_not_decode_is_told_with_its_name(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "a.pack", encoding="jpeg")
    begin, end = pack._offsets[3:5]
    images = tmp_path / "a.pack" / "images.bin"
    stored = bytearray(images.read_bytes())
    frame = stored.index(b"\xff\xc0", begin, end)  # the header with height and width
    whole = bytes(stored)
    told = (
        rf"a\.pack: {pack.names[3]}: a stored jpeg .* must have shape \(16, 16\), got no picture;"
    )
    for place, spoilt in ((begin, b"\0"), (frame + 5, b"\xff" * 4)):
        stored[place : place + len(spoilt)] = spoilt
        images.write_bytes(stored)
        altered = PackedFaces.open(tmp_path / "a.pack")
        assert altered.read([2, 4]).shape == (2, 16, 16, 3)
        with pytest.raises(DataError, match=f"{told} `marginface data inspect .*a.pack` lists all"):
            altered.read([2, 3])
        stored[:] = whole


def test_leftovers_of_killed_processes_go(tmp_path: Path) -> None:
    dead = tmp_path / ".a.pack.999999999.part"
    dead.mkdir()
    alive = tmp_path / ".a.pack.1.part"
    alive.mkdir()
    make_pack(tmp_path / "a.pack")
    assert not dead.exists()
    assert alive.exists()


def test_writer_refuses(tmp_path: Path) -> None:
    black = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match=r"encoding must be one of .* did you mean 'jpeg'"):
        PackWriter(tmp_path / "x", encoding="jpg")
    with pytest.raises(ValueError, match="inside `with PackWriter"):
        PackWriter(tmp_path / "x", size=16).add(black, "a", "a/1.png")
    with PackWriter(tmp_path / "a.pack", size=16) as writer:
        with pytest.raises(
            ValueError, match=r"a/1.png: image must be uint8 of shape \(16, 16, 3\)"
        ):
            writer.add(black[:8], "a", "a/1.png")
        writer.add(black, "a", "a/1.png", truth={"yaw": [1.0, 2.0]})
        with pytest.raises(ValueError, match=r"name must be new, got 'a/1.png' twice"):
            writer.add(black, "a", "a/1.png", truth={"yaw": [1.0, 2.0]})
        with pytest.raises(ValueError, match=r"truth must have the keys \['yaw'\], got \[\]"):
            writer.add(black, "a", "a/2.png")
        with pytest.raises(ValueError, match=r"truth 'yaw' must have shape \(2,\), got \(\)"):
            writer.add(black, "a", "a/2.png", truth={"yaw": 1.0})
        with pytest.raises(ValueError, match="truth 'yaw' must be numbers or text, got objects"):
            writer.add(black, "a", "a/2.png", truth={"yaw": [None, None]})
    assert len(PackedFaces.open(tmp_path / "a.pack")) == 1


def test_remarks_come_back(tmp_path: Path) -> None:
    with PackWriter(tmp_path / "a.pack", size=16) as writer:
        writer.add(smooth_image(0), "a", "a/1.png")
        writer.leave_out("a/2, new.png", "unreadable", 'says "no"')
        writer.note("a/1.png", "several faces", "3 found")
    pack = PackedFaces.open(tmp_path / "a.pack")
    assert pack.left_out == [("a/2, new.png", "unreadable", 'says "no"')]
    assert pack.notes == [("a/1.png", "several faces", "3 found")]
    assert (tmp_path / "a.pack" / "left_out.csv").read_text().startswith("name,reason,detail\n")


class TestBrokenPacks:
    def test_absent(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="must be a pack, but is not there"):
            PackedFaces.open(tmp_path / "nothing")
        with pytest.raises(DataError, match=r"must be a pack, but has no pack.json"):
            PackedFaces.open(tmp_path)

    def test_newer_version(self, tmp_path: Path) -> None:
        self.change(make_pack(tmp_path / "a.pack").path, version=2)
        with pytest.raises(DataError, match="format version 2, this marginface reads up to 1"):
            PackedFaces.open(tmp_path / "a.pack")

    def test_another_format(self, tmp_path: Path) -> None:
        self.change(make_pack(tmp_path / "a.pack").path, format="zip")
        with pytest.raises(DataError, match="must say format 'marginface-pack'"):
            PackedFaces.open(tmp_path / "a.pack")

    def test_cut_images(self, tmp_path: Path) -> None:
        path = make_pack(tmp_path / "a.pack").path
        os.truncate(path / "images.bin", 1000)
        with pytest.raises(
            DataError, match=r"broken \(images.bin must hold 15,360 bytes, got 1,000"
        ):
            PackedFaces.open(path)

    def test_labels_out_of_range(self, tmp_path: Path) -> None:
        path = make_pack(tmp_path / "a.pack").path
        labels = np.load(path / "labels.npy", allow_pickle=False)
        labels[3] = 4
        np.save(path / "labels.npy", labels)
        with pytest.raises(DataError, match=r"labels must lie in \[0, 4\), got 4 in row 3"):
            PackedFaces.open(path)
        np.save(path / "labels.npy", labels[:-1])
        with pytest.raises(DataError, match="labels must hold 20 rows, got 19"):
            PackedFaces.open(path)

    def test_missing_file_and_bad_json(self, tmp_path: Path) -> None:
        path = make_pack(tmp_path / "a.pack").path
        (path / "labels.npy").unlink()
        with pytest.raises(DataError, match=r"a.pack is broken \(.*labels.npy"):
            PackedFaces.open(path)
        (path / "pack.json").write_text("{")
        with pytest.raises(DataError, match="is broken"):
            PackedFaces.open(path)

    def test_pickled_labels_do_not_load(self, tmp_path: Path) -> None:
        path = make_pack(tmp_path / "a.pack").path
        np.save(path / "labels.npy", np.array([object] * 20), allow_pickle=True)
        with pytest.raises(DataError, match="is broken"):
            PackedFaces.open(path)

    def test_broken_jpeg_is_named(self, tmp_path: Path) -> None:
        pack = make_pack(tmp_path / "a.pack", encoding="png")
        with (pack.path / "images.bin").open("r+b") as file:
            file.write(b"\0" * 40)
        with pytest.raises(
            DataError, match=r"p0/p0_0001.png: a stored png picture must have shape"
        ):
            PackedFaces.open(pack.path).read([1, 0])

    @staticmethod
    def change(path: Path, **values: object) -> None:
        described = json.loads((path / "pack.json").read_text())
        (path / "pack.json").write_text(json.dumps(described | values))
