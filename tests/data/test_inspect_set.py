"""The report on a set whose faults were put there by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.data import EncodedFaces, PackedFaces, convert_faces, manifest_of, open_encoded
from marginface.data.duplicates import Signatures, signatures
from marginface.data.inspect_set import _candidates_across, inspect_faces, shared_pictures
from tests.data.made import make_pack, save, smooth_image


@pytest.fixture
def faces(tmp_path: Path) -> EncodedFaces:
    """Three of anna, one of berta that is anna's, six of carl with one alike and one broken."""
    folder = tmp_path / "people"
    for number in range(3):
        save(folder / "anna" / f"anna_{number}.png", smooth_image(number, 48))
    save(folder / "berta" / "berta_0.bmp", smooth_image(1, 48))
    for number in range(4):
        save(folder / "carl" / f"carl_{number}.png", smooth_image(50 + number, 40))
    noise = np.random.default_rng(0).normal(0, 2, (40, 40, 3))
    alike = np.clip(smooth_image(50, 40) + noise, 0, 255).astype(np.uint8)
    save(folder / "carl" / "carl_4.png", alike)
    (folder / "carl" / "carl_5.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "carl" / "notes.txt").write_text("no picture")
    return open_encoded(folder)


def test_a_set_with_faults(faces: EncodedFaces) -> None:
    report, _ = inspect_faces(faces)
    assert (report.images, report.identities, report.kind) == (10, 3, "folder")
    assert report.per_identity == {"fewest": 1, "median": 3.0, "mean": 10 / 3, "most": 6}
    assert report.histogram == [(1, 1, 1), (3, 4, 1), (5, 9, 1)]
    assert report.sizes == [(40, 40, 5), (48, 48, 4)]
    assert [name for name, _ in report.unreadable] == ["carl/carl_5.jpg"]
    assert report.left_out == [("carl/notes.txt", "not a picture", "ending")]
    assert report.exact == [["anna/anna_1.png", "berta/berta_0.bmp"]]
    assert report.exact_across == 1
    assert report.near == [("carl/carl_0.png", "carl/carl_4.png")]
    assert report.near_across == 0
    assert report.is_near_complete
    assert report.is_as_converted is None
    assert report.is_as_packed is None
    files = [file for file in faces.path.rglob("*") if file.is_file() and file.suffix != ".txt"]
    assert report.stored_bytes == sum(file.stat().st_size for file in files)


def test_the_manifest_is_compared(faces: EncodedFaces, tmp_path: Path) -> None:
    convert_faces(faces.path, tmp_path / "a.rec")
    report, _ = inspect_faces(open_encoded(tmp_path / "a.rec"))
    assert report.is_as_converted is True
    text = manifest_of(tmp_path / "a.rec").read_text()
    manifest_of(tmp_path / "a.rec").write_text(text.replace(report.checksum, "0" * 64))
    report, _ = inspect_faces(open_encoded(tmp_path / "a.rec"))
    assert report.is_as_converted is False


@pytest.mark.parametrize("encoding", ["raw", "jpeg", "png"])
def test_a_byte_of_a_pack_turned_over_is_told(tmp_path: Path, encoding: str) -> None:
    make_pack(tmp_path / "a.pack", encoding=encoding)
    report, _ = inspect_faces(open_encoded(tmp_path / "a.pack"))
    assert report.is_as_packed is True
    images = tmp_path / "a.pack" / "images.bin"
    stored = bytearray(images.read_bytes())
    # In the pixels of the first picture: before the end mark of a JPEG, in the data of a PNG.
    end = PackedFaces.open(tmp_path / "a.pack")._offsets[1]
    stored[end - 20] ^= 1
    images.write_bytes(stored)
    report, _ = inspect_faces(open_encoded(tmp_path / "a.pack"))
    assert report.is_as_packed is False
    names = [name for name, _ in report.unreadable]
    assert names == (["p0/p0_0001.png"] if encoding == "png" else [])


def test_pictures_shared_with_another_set(faces: EncodedFaces, tmp_path: Path) -> None:
    folder = tmp_path / "judge"
    save(folder / "x" / "x_1.png", smooth_image(2, 48))
    save(folder / "x" / "x_2.png", smooth_image(51, 80)[4:, 2:])
    save(folder / "y" / "y_1.png", np.asarray(smooth_image(53, 40) // 8 * 8 + 4, np.uint8))
    other = open_encoded(folder)
    shared = shared_pictures(faces, signatures(faces), other, signatures(other))
    assert shared.exact == [("anna/anna_2.png", "x/x_1.png")]
    assert ("carl/carl_3.png", "y/y_1.png") in shared.near
    assert not {"anna/anna_0.png", "carl/carl_2.png"} & {name for name, _ in shared.near}


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from([0, 1, 3, 255, 254]), st.booleans()), max_size=9))
def test_every_picture_here_meets_the_first_of_each_near_hash_there(
    rows: list[tuple[int, bool]],
) -> None:
    hashes = [number for number, _ in rows]
    is_readable = [is_there for _, is_there in rows]
    both = Signatures(
        pixels=np.zeros((len(rows), 2), np.uint64),
        hashes=np.array(hashes, np.uint64),
        sizes=np.array([[8 * is_there, 8] for is_there in is_readable], np.int64).reshape(-1, 2),
        unreadable=[],
    )
    count = len(rows) // 2
    firsts = {}
    for row in range(count, len(rows)):
        if is_readable[row]:
            firsts.setdefault(hashes[row], row - count)
    expected = [
        [row, there]
        for row in range(count)
        for number, there in sorted(firsts.items(), key=lambda item: item[1])
        if is_readable[row] and (hashes[row] ^ number).bit_count() <= 4
    ]
    assert _candidates_across(both, count).tolist() == expected
