import csv
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from marginface.alignment import TEMPLATE_112, align_face
from marginface.data import PackedFaces, pack_folder, read_landmarks, read_picture
from marginface.data.landmarks import COLUMNS
from marginface.data.ordered import ordered_map
from marginface.detection import Detector
from marginface.errors import CheckpointWriteError, DataError, ProtocolFileError
from tests.data.made import PICTURES, full_disk_after, save, smooth_image

OBAMA = PICTURES / "barack_obama" / "barack_obama_0001.jpg"


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portraits, and everything that goes wrong with folders of pictures."""
    root = tmp_path_factory.mktemp("messy")
    for path in PICTURES.rglob("*.jpg"):
        target = root / path.relative_to(PICTURES)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    portrait = read_picture(OBAMA)
    bad = root / "bad"
    save(bad / "bad_0001.png", smooth_image(0, 100))
    (bad / "bad_0002.jpg").write_text("a text")
    (bad / "bad_0003.jpg").write_bytes(OBAMA.read_bytes()[:9000])
    tiny = cv2.resize(portrait, None, fx=0.06, fy=0.06, interpolation=cv2.INTER_AREA)
    canvas = np.full((120, 120, 3), 60, np.uint8)
    canvas[50 : 50 + tiny.shape[0], 50 : 50 + tiny.shape[1]] = tiny
    save(bad / "bad_0004.png", canvas)
    (bad / "bad_0005.heic").write_text("")
    other = read_picture(PICTURES / "rishi_sunak" / "rishi_sunak_0001.jpg")
    small = cv2.resize(portrait, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    both = np.zeros((400, other.shape[1] + small.shape[1], 3), np.uint8)
    both[: len(other), : other.shape[1]] = other
    both[: len(small), other.shape[1] :] = small
    save(root / "rishi_sunak" / "rishi_sunak_0002.png", both)
    save(root / "barack_obama" / "barack_obama_0002.pgm", portrait[..., 1])
    save(root / "barack_obama" / "barack_obama_0003.bmp", portrait)
    return root


@pytest.fixture(scope="module")
def packed(messy: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedFaces:
    out = tmp_path_factory.mktemp("out") / "messy.pack"
    report = pack_folder(messy, out, workers=2)
    pack = PackedFaces.open(out)
    assert (report.images, report.identities) == (len(pack), len(pack.identities)) == (9, 4)
    assert report.fingerprint == pack.fingerprint
    assert report.left_out == pack.left_out
    assert report.reasons["unreadable"] == 2
    return pack


def test_bad_pictures_are_left_out_with_their_reason(packed: PackedFaces) -> None:
    left_out = {name: (reason, detail) for name, reason, detail in packed.left_out}
    assert {name: reason for name, (reason, _) in left_out.items()} == {
        "bad/bad_0001.png": "no face",
        "bad/bad_0002.jpg": "unreadable",
        "bad/bad_0003.jpg": "unreadable",
        "bad/bad_0004.png": "too small",
        "bad/bad_0005.heic": "not a picture",
    }
    assert left_out["bad/bad_0002.jpg"][1].startswith("bad/bad_0002.jpg must be a JPEG")
    assert "cut off after 9,000 bytes" in left_out["bad/bad_0003.jpg"][1]
    assert "32 needed" in left_out["bad/bad_0004.png"][1]
    with (packed.path / "left_out.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 6


def test_several_faces_are_noted_and_the_largest_central_one_wins(packed: PackedFaces) -> None:
    [(name, reason, _)] = packed.notes
    assert (name, reason) == ("rishi_sunak/rishi_sunak_0002.png", "several faces")
    alone, chosen = packed.read(
        [packed.index_of("rishi_sunak/rishi_sunak_0001.jpg"), packed.index_of(name)]
    ).astype(int)
    obama = packed.read([packed.index_of("barack_obama/barack_obama_0001.jpg")])[0].astype(int)
    # Not equal: the points move by some pixels with the scale the detector sees.
    assert np.abs(alone - chosen).mean() < 0.75 * np.abs(obama - chosen).mean()


def test_formats_agree_and_order_is_sorted(packed: PackedFaces) -> None:
    assert packed.names == sorted(packed.names)
    jpeg, grey, bmp = packed.read([0, 1, 2]).astype(int)
    np.testing.assert_array_equal(jpeg, bmp)
    assert (grey == grey[..., :1]).all()
    assert np.abs(grey[..., 1] - jpeg[..., 1]).mean() < 12


def test_number_of_threads_changes_nothing(
    messy: Path, packed: PackedFaces, tmp_path: Path
) -> None:
    assert pack_folder(messy, tmp_path / "one", workers=1).fingerprint == packed.fingerprint


def landmark_file(path: Path, rows: dict[str, np.ndarray]) -> Path:
    lines = [",".join(COLUMNS)]
    lines += [",".join([name, *map(str, points.ravel())]) for name, points in rows.items()]
    path.write_text("\n".join(lines))
    return path


def test_given_landmarks(tmp_path: Path) -> None:
    image = smooth_image(3, 200)
    save(tmp_path / "set" / "a" / "a_0001.png", image)
    save(tmp_path / "set" / "a" / "a_0002.png", image)
    points = TEMPLATE_112 * 1.2 + 11
    file = landmark_file(tmp_path / "points.csv", {"a/a_0001.png": points, "b/other.png": points})
    report = pack_folder(tmp_path / "set", tmp_path / "out", landmarks=file, size=64)
    pack = PackedFaces.open(tmp_path / "out")
    np.testing.assert_array_equal(pack.read([0])[0], align_face(image, points, size=64))
    assert report.left_out == [("a/a_0002.png", "no landmarks", "")]
    assert report.seconds > 0


def test_landmarks_that_do_not_fit(tmp_path: Path) -> None:
    save(tmp_path / "set" / "a" / "a_0001.png", smooth_image(0, 64))
    file = landmark_file(tmp_path / "points.csv", {"a_0001.png": TEMPLATE_112})
    with pytest.raises(
        DataError, match=r"must name pictures .* as 'a/a_0001.png', got 'a_0001.png'"
    ):
        pack_folder(tmp_path / "set", tmp_path / "out", landmarks=file)
    file.write_text("name,x,y\n")
    with pytest.raises(ProtocolFileError, match="landmarks need the columns"):
        pack_folder(tmp_path / "set", tmp_path / "out", landmarks=file)
    with pytest.raises(ValueError, match="landmarks must be None"):
        pack_folder(tmp_path / "set", tmp_path / "out", landmarks=file, is_aligned=True)
    assert not (tmp_path / "out").exists()


def test_aligned_already(tmp_path: Path) -> None:
    save(tmp_path / "set" / "a" / "a_0001.png", smooth_image(0, 112))
    save(tmp_path / "set" / "a" / "a_0002.png", smooth_image(0, 112)[:80])
    report = pack_folder(tmp_path / "set", tmp_path / "out", is_aligned=True)
    pack = PackedFaces.open(tmp_path / "out")
    np.testing.assert_array_equal(pack.read([0])[0], smooth_image(0, 112))
    assert report.left_out == [("a/a_0002.png", "not square", "(80, 112)")]
    assert pack.meta["points"] == "aligned"


def test_one_odd_point_set_does_not_stop_the_work(tmp_path: Path) -> None:
    for number in (1, 2):
        save(tmp_path / "set" / "a" / f"a_000{number}.png", smooth_image(0, 200))
    rows = {"a/a_0001.png": np.ones((5, 2)), "a/a_0002.png": TEMPLATE_112}
    file = landmark_file(tmp_path / "points.csv", rows)
    report = pack_folder(tmp_path / "set", tmp_path / "out", landmarks=file)
    assert [row[:2] for row in report.left_out] == [("a/a_0001.png", "unreadable")]
    assert "coincide" in report.left_out[0][2]


def test_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "a_0001.jpg").write_text("x")
    message = r"no picture of .*set could be packed: 1 unreadable; the first is a/a_0001.jpg"
    with pytest.raises(DataError, match=message):
        pack_folder(tmp_path / "set", tmp_path / "out", detector=Detector.load())
    with pytest.raises(DataError, match="must be a folder with one folder per person"):
        pack_folder(tmp_path / "absent", tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["set"]


def test_full_disk_leaves_the_old_pack(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / "set" / "a" / f"a_{number:04d}.png", smooth_image(number, 112))
    old = pack_folder(tmp_path / "set", tmp_path / "out", is_aligned=True)
    with full_disk_after(100_000), pytest.raises(CheckpointWriteError, match="is untouched"):
        pack_folder(tmp_path / "set", tmp_path / "out", is_aligned=True, may_replace=True)
    PackedFaces.open(tmp_path / "out").verify()
    assert PackedFaces.open(tmp_path / "out").fingerprint == old.fingerprint
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "set"]


def test_ordered_map_keeps_order_bounds_and_errors() -> None:
    started: list[int] = []
    before = set(threading.enumerate())

    def square(number: int) -> int:
        started.append(number)
        if number == 30:
            raise RuntimeError("thirty")
        return number * number

    results = ordered_map(square, range(1000), workers=2)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(started) <= 20
    with pytest.raises(RuntimeError, match="thirty"):
        list(results)
    assert len(started) < 60
    assert not [t for t in set(threading.enumerate()) - before if "marginface-pack" in t.name]
    assert list(ordered_map(square, range(3), workers=1)) == [0, 1, 4]


@pytest.mark.faces
@pytest.mark.slow
def test_the_real_set(faces: Path, tmp_path: Path) -> None:
    """More than 99 % found, and the face found is the one the set's own points are of."""
    report = pack_folder(faces / "celeb", tmp_path / "celeb.pack")
    assert report.images > 0.99 * 5675
    assert report.identities == 263
    given = read_landmarks(faces / "celeb_landmarks.csv")
    detector = Detector.load()
    pack = PackedFaces.open(report.path)
    for index in range(0, len(pack), 57):
        found = detector.detect(read_picture(faces / "celeb" / pack.names[index]))
        nearest = min(np.abs(face.points - given[pack.names[index]]).mean() for face in found)
        assert nearest < 12
