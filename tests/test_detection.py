import pickle
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from marginface.data import read_landmarks, read_picture
from marginface.detection import Detection, Detector, choose_face
from marginface.detection.cuts import cut_out, turned, turning
from marginface.errors import WeightsError
from tests.data.made import PICTURES

PORTRAITS = sorted(PICTURES.rglob("*.jpg"))


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load()


def face(left: float, top: float, side: float) -> Detection:
    return Detection(
        box=np.array([left, top, side, side], float), points=np.zeros((5, 2)), score=1.0
    )


@pytest.mark.parametrize("path", PORTRAITS, ids=lambda p: p.stem)
def test_finds_each_portrait(detector: Detector, path: Path) -> None:
    image = read_picture(path)
    [found] = detector.detect(image)
    eye_left, eye_right, nose, mouth_left, mouth_right = found.points
    assert eye_left[0] < nose[0] < eye_right[0]
    assert eye_left[1] < nose[1] < mouth_left[1]
    assert mouth_left[0] < mouth_right[0]
    left, top, width, height = found.box
    assert (found.points >= [left, top]).all()
    assert (found.points <= [left + width, top + height]).all()
    assert 0.6 <= found.score <= 1


@pytest.mark.parametrize("scale", [0.3, 0.6, 2.0, 6.0])
def test_points_follow_the_size(detector: Detector, scale: float) -> None:
    image = read_picture(PORTRAITS[0])
    resized = np.asarray(cv2.resize(image, None, fx=scale, fy=scale))
    [found], [other] = detector.detect(image), detector.detect(resized)
    distance = np.linalg.norm(found.points[0] - found.points[1])
    np.testing.assert_allclose(other.points / scale, found.points, atol=0.09 * distance)


def test_sees_colours_in_their_order(detector: Detector) -> None:
    """RGB and BGR give other scores; the right one must be the one OpenCV's own call gives."""
    image = read_picture(PORTRAITS[0])
    small = np.asarray(cv2.resize(image, (130, 150)))
    canvas = np.zeros((160, 160, 3), np.uint8)
    canvas[5:155, 15:145] = small[..., ::-1]
    own = cv2.FaceDetectorYN.create(str(detector.weights), "", (160, 160), 0.6, 0.3)
    expected = own.detect(canvas)[1][0]
    [found] = detector.detect(small)
    assert found.score == pytest.approx(expected[14], abs=1e-5)
    np.testing.assert_allclose(found.box[:2] + np.array([15, 5]), expected[:2], atol=1e-3)
    np.testing.assert_allclose(found.box[2:], expected[2:4], atol=1e-3)


def test_points_are_the_mean_of_the_closer_looks(detector: Detector) -> None:
    """Written out by hand for a portrait that is its own square cut."""
    image = read_picture(PORTRAITS[0])
    [found] = detector.detect(image)
    left, top, width, height = found.box
    side = round(2 * max(width, height))
    corner = np.array([round(left + width / 2 - side / 2), round(top + height / 2 - side / 2)])
    big = np.zeros((3 * side, 3 * side, 3), np.uint8)
    big[side : side + image.shape[0], side : side + image.shape[1]] = image
    x, y = corner + side
    cut = big[y : y + side, x : x + side]
    seen = [detector._look(cut, *look)[0].points for look in ((320, 300), (160, 130))]
    mirrored = detector._look(np.ascontiguousarray(cut[:, ::-1]), 160, 150)[0].points
    turned = np.array([[side, 0]]) + mirrored * [-1, 1]
    seen.append(turned[[1, 0, 2, 4, 3]])
    np.testing.assert_allclose(found.points, np.mean(seen, axis=0) + corner, atol=1e-6)
    assert np.linalg.norm(seen[0] - seen[2], axis=1).max() < 0.25 * width


def test_finds_a_face_that_fills_the_picture(detector: Detector) -> None:
    image = read_picture(PORTRAITS[0])
    [found] = detector.detect(image)
    left, top, width, height = found.box.round().astype(int)
    tight = image[max(top, 0) : top + height, max(left, 0) : left + width]
    for size in (100, 600):
        assert detector.detect(np.asarray(cv2.resize(tight, (size, size))))


def test_finds_a_small_face_in_a_large_picture(detector: Detector) -> None:
    portrait = read_picture(PORTRAITS[0])
    small = np.asarray(cv2.resize(portrait, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA))
    image = np.full((1200, 1600, 3), 90, np.uint8)
    image[700 : 700 + len(small), 1100 : 1100 + small.shape[1]] = small
    [found] = detector.detect(image)
    assert 1100 < found.points[2][0] < 1100 + small.shape[1]
    assert 700 < found.points[2][1] < 700 + len(small)


def test_a_huge_portrait_has_the_points_of_a_small_one(detector: Detector) -> None:
    """Larger than any look, and unlike in height and width: each has its own way back."""
    image = read_picture(PORTRAITS[0])[:, 40:]
    huge = np.asarray(cv2.resize(image, (3900, 4700), interpolation=cv2.INTER_CUBIC))
    back = np.array(image.shape[1::-1]) / (3900, 4700)
    [found], [other] = detector.detect(image), detector.detect(huge)
    distance = np.linalg.norm(found.points[0] - found.points[1])
    np.testing.assert_allclose(other.points * back, found.points, atol=0.09 * distance)


def test_finds_a_face_lost_in_a_photograph_of_24_megapixels(detector: Detector) -> None:
    portrait = read_picture(PORTRAITS[0])
    small = np.asarray(cv2.resize(portrait, (60, 90), interpolation=cv2.INTER_AREA))
    image = np.full((4000, 6000, 3), 90, np.uint8)
    image[300:390, 5000:5060] = small
    [found] = detector.detect(image)
    assert 5000 < found.points[2][0] < 5060
    assert 300 < found.points[2][1] < 390


def test_travels_to_another_process(detector: Detector) -> None:
    image = read_picture(PORTRAITS[0])
    other = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(other.detect(image)[0].points, detector.detect(image)[0].points)
    assert other.lowest_score == detector.lowest_score


@pytest.mark.parametrize("turn_rad", [-np.pi / 4, np.pi / 6, np.pi / 4, np.pi])
def test_points_turn_with_the_face(detector: Detector, turn_rad: float) -> None:
    """The network's own points would stay upright: 15 degrees off is the most a step leaves."""
    image = cut_out(read_picture(PORTRAITS[-1]), (-200, -100), 1100)
    [found] = detector.detect(image)
    [other] = detector.detect(turned(image, turn_rad))
    turn = turning(len(image), turn_rad)
    expected = found.points @ turn[:, :2].T + turn[:, 2]
    distance = np.linalg.norm(found.points[0] - found.points[1])
    np.testing.assert_allclose(other.points, expected, atol=0.25 * distance)
    eyes = other.points[1] - other.points[0], expected[1] - expected[0]
    off = np.angle(complex(*eyes[0]) / complex(*eyes[1]))
    assert abs(off) < np.radians(15)


def test_a_small_face_is_not_turned(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its score says too little; so its points are those of a detector that never turns."""
    image = cut_out(read_picture(PORTRAITS[-1]), (-200, -100), 1100)
    hanging = turned(image, np.pi / 4)
    small = np.asarray(cv2.resize(hanging, (100, 100), interpolation=cv2.INTER_AREA))
    [found] = detector.detect(small)
    assert found.box[2:].max() < 48
    monkeypatch.setattr("marginface.detection.yunet.STANDS", 0.0)
    np.testing.assert_array_equal(detector.detect(small)[0].points, found.points)


def test_turning_moves_pictures_as_it_moves_points() -> None:
    image = np.zeros((41, 41, 3), np.uint8)
    image[10, 30] = 255
    x, y = turning(41, 0.5) @ [30, 10, 1]
    row, column = np.unravel_index(turned(image, 0.5)[..., 0].argmax(), (41, 41))
    assert (abs(column - x), abs(row - y)) < (1, 1)
    np.testing.assert_allclose(turning(41, np.pi) @ [0, 0, 1], [40, 40], atol=1e-9)
    assert turned(image, 0.0) is image


def test_nothing_to_find(detector: Detector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)
    assert detector.detect(noise) == []
    assert detector.detect(np.zeros((1, 1, 3), np.uint8)) == []
    assert detector.detect(np.zeros((3, 900, 3), np.uint8)) == []


def test_threads_share_a_detector(detector: Detector) -> None:
    images = [read_picture(path) for path in PORTRAITS]
    alone = [detector.detect(image)[0].points for image in images]
    together: dict[int, list[NDArray[np.float64]]] = {}

    def work(number: int) -> None:
        together[number] = [detector.detect(image)[0].points for image in images]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) == 3
    for points in together.values():
        np.testing.assert_array_equal(points, alone)


def test_the_largest_central_face_wins() -> None:
    small_central, large_aside, large_central = face(45, 45, 10), face(0, 0, 30), face(30, 30, 40)
    assert choose_face([small_central, large_aside, large_central], (100, 100)) is large_central
    assert choose_face([face(70, 70, 30), face(38, 38, 26)], (100, 100)).box[0] == 38
    # The picture's height and width are not mixed up: the middle of 40 x 200 is x 100, y 20.
    assert choose_face([face(10, 10, 20), face(90, 10, 20)], (40, 200)).box[0] == 90
    with pytest.raises(ValueError, match="detections must hold at least one face, got none"):
        choose_face([], (10, 10))


def test_refuses(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"image must be uint8 of shape .*, got uint8 of shape"):
        detector.detect(np.zeros((10, 10), np.uint8))
    with pytest.raises(WeightsError):
        Detector.load(tmp_path / "absent.onnx")
    other = tmp_path / "other.onnx"
    other.write_bytes(b"not a network")
    with pytest.raises(WeightsError, match="must be the YuNet ONNX file"):
        Detector(other)


@pytest.mark.faces
def test_finds_real_crops(detector: Detector, faces: Path) -> None:
    names = sorted(read_landmarks(faces / "celeb_landmarks.csv"))[::150]
    found = [detector.detect(read_picture(faces / "celeb" / name)) for name in names]
    assert all(found)
