"""YuNet: a picture to boxes, five points and scores.

The network finds faces of about 10 to 300 pixels of what it is given, so every picture is scaled
and set on a black square. Where nothing is found, another scale follows: smaller for a face that
fills the picture, larger for one lost in it.

Its points wander by some pixels with the scale at which it sees a face, so each face found is cut
out and looked at three times more, one of them mirrored, and the points are averaged, which takes
30 ms a face. Recognition gains by it: see `CLOSER_LOOKS`.

Source: Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research
    2023; the weights are OpenCV's, see `marginface.weights`.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.errors import WeightsError
from marginface.weights import resolve_weights

LOWEST_SCORE = 0.6
OVERLAP = 0.3
# (side of the black square, longest side of what is set on it, mirrored): the averaged looks.
# Public SFace weights on 4,000 pairs of 90 people, against the points of one look at 240 pixels:
# d-prime 4.25 to 4.56, FNMR at FMR 0.01 from 0.0265 to 0.0155, best accuracy 0.983 to 0.988.
CLOSER_LOOKS = ((320, 300, False), (160, 130, False), (160, 150, True))
# A closer look counts if its box shares so much with the first, as intersection over union.
SAME_FACE = 0.4
# Sides in pixels: no look sees more of the picture, and no closer look more of a face.
LARGEST_LOOK = 2560
LARGEST_CUT = 1200
_MIRRORED_POINTS = [1, 0, 2, 4, 3]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detection:
    """A face in a picture, in the picture's pixels.

    Args:
        box: Left, top, width, height, shape (4,).
        points: (x, y) of the five points, shape (5, 2), in the order of `alignment`.
        score: Higher is more of a face, in [0, 1].
    """

    box: NDArray[np.float64]
    points: NDArray[np.float64]
    score: float


class Detector:
    """Find faces with YuNet; threads may share one detector.

    Args:
        weights: The ONNX file.
        lowest_score: Faces below are not reported.

    Raises:
        WeightsError: If the file is not a network OpenCV can run.
    """

    def __init__(self, weights: Path, *, lowest_score: float = LOWEST_SCORE) -> None:
        self.weights = weights
        self.lowest_score = lowest_score
        # OpenCV's networks keep their buffers, so each thread has its own.
        self._own = threading.local()
        self._check()

    def __getstate__(self) -> dict[str, Any]:
        return {"weights": self.weights, "lowest_score": self.lowest_score}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy in another process opens the file anew; what is open cannot travel.
        self.__dict__.update(state, _own=threading.local())
        self._check()

    def _check(self) -> None:
        try:
            self._network(320)
        except cv2.error as cause:
            raise WeightsError(
                f"{self.weights} must be the YuNet ONNX file, "
                f"OpenCV refuses it ({cause.err or cause})"
            ) from cause

    @classmethod
    def load(cls, path: str | Path | None = None) -> "Detector":
        """Return a detector with the public weights, or those in the file `path`.

        Raises:
            WeightsError: If they are nowhere to be found, or altered.
        """
        return cls(resolve_weights("yunet", path=None if path is None else Path(path)))

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Return every face found, the highest score first.

        Args:
            image: RGB, shape (height, width, 3).

        Raises:
            ValueError: If the image has another shape or type.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(
                "image must be uint8 of shape (height, width, 3), "
                f"got {image.dtype} of shape {image.shape}"
            )
        # Each look would read the whole picture again: at 90 megapixels, 1.4 s each.
        small = _at_most(image, LARGEST_LOOK)
        back = np.array(image.shape[1::-1]) / small.shape[1::-1]
        for side, longest in _looks(max(image.shape[:2])):
            if found := self._look(small, side, longest):
                return [self._refined(image, _scaled(face, back)) for face in found]
        return []

    def _refined(self, image: NDArray[np.uint8], face: Detection) -> Detection:
        """Return the face with its points averaged over closer looks, where these find it."""
        left, top, width, height = face.box
        side = max(8, round(2 * float(max(width, height))))
        corner = (round(left + width / 2 - side / 2), round(top + height / 2 - side / 2))
        cut = _at_most(_cut(image, corner, side), LARGEST_CUT)
        back = side / len(cut)
        own = np.array([left - corner[0], top - corner[1], width, height]) / back
        seen = []
        for square, longest, is_mirrored in CLOSER_LOOKS:
            looked_at = np.ascontiguousarray(cut[:, ::-1]) if is_mirrored else cut
            found = self._look(looked_at, square, longest)
            faces = [_mirrored(other, len(cut)) for other in found] if is_mirrored else found
            nearest = max(faces, key=lambda other: _shared(other.box, own), default=None)
            if nearest is not None and _shared(nearest.box, own) >= SAME_FACE:
                seen.append(nearest.points * back + corner)
        points = np.mean(seen, axis=0) if seen else face.points
        return Detection(box=face.box, points=points, score=face.score)

    def _look(self, image: NDArray[np.uint8], side: int, longest: int) -> list[Detection]:
        height, width = image.shape[:2]
        scale = longest / max(height, width)
        wide, tall = max(1, round(width * scale)), max(1, round(height * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        left, top = (side - wide) // 2, (side - tall) // 2
        canvas = np.zeros((side, side, 3), dtype=np.uint8)
        canvas[top : top + tall, left : left + wide] = cv2.cvtColor(
            np.asarray(cv2.resize(image, (wide, tall), interpolation=method)), cv2.COLOR_RGB2BGR
        )
        _, rows = self._network(side).detect(canvas)
        if rows is None:
            return []
        back = np.array([width / wide, height / tall])
        found = []
        for row in np.asarray(rows, dtype=np.float64):
            corner, extent = (row[:2] - (left, top)) * back, row[2:4] * back
            points = (row[4:14].reshape(5, 2) - (left, top)) * back
            box = np.concatenate([corner, extent])
            found.append(Detection(box=box, points=points, score=float(row[14])))
        return sorted(found, key=lambda face: -face.score)

    def _network(self, side: int) -> cv2.FaceDetectorYN:
        networks: dict[int, cv2.FaceDetectorYN] = self._own.__dict__.setdefault("networks", {})
        if side not in networks:
            networks[side] = cv2.FaceDetectorYN.create(
                str(self.weights), "", (side, side), self.lowest_score, OVERLAP
            )
        return networks[side]


def choose_face(detections: Sequence[Detection], image_size: tuple[int, int]) -> Detection:
    """Return the largest central face: the highest area times closeness to the middle.

    Closeness is 1 in the middle of the picture and 0 at its corners.

    Args:
        detections: At least one.
        image_size: (height, width) of the picture.

    Raises:
        ValueError: If there is none.
    """
    if not detections:
        raise ValueError("detections must hold at least one face, got none")
    middle = np.array([image_size[1], image_size[0]]) / 2

    def weight(face: Detection) -> float:
        distance = float(np.linalg.norm(face.box[:2] + face.box[2:] / 2 - middle))
        closeness = max(0.0, 1 - distance / float(np.linalg.norm(middle)))
        return float(face.box[2] * face.box[3]) * closeness

    return max(detections, key=weight)


def _cut(image: NDArray[np.uint8], corner: tuple[int, int], side: int) -> NDArray[np.uint8]:
    """Return a square of the picture from `corner` (x, y), black where it reaches outside."""
    cut = np.zeros((side, side, 3), dtype=np.uint8)
    height, width = image.shape[:2]
    left, top = max(corner[0], 0), max(corner[1], 0)
    part = image[top : max(min(corner[1] + side, height), top), left : min(corner[0] + side, width)]
    row, column = top - corner[1], left - corner[0]
    cut[row : row + part.shape[0], column : column + part.shape[1]] = part
    return cut


def _at_most(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Return the picture, shrunk to that longest side if it is larger."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _scaled(face: Detection, back: NDArray[np.float64]) -> Detection:
    """Return a face found in a shrunk picture as it is in the picture, `back` times as large."""
    box = face.box * np.tile(back, 2)
    return Detection(box=box, points=face.points * back, score=face.score)


def _mirrored(face: Detection, width: int) -> Detection:
    """Return a face found in a mirrored picture of that width, as it is in the picture."""
    left, top, wide, tall = face.box
    points = face.points[_MIRRORED_POINTS]
    points[:, 0] = width - points[:, 0]
    box = np.array([width - left - wide, top, wide, tall])
    return Detection(box=box, points=points, score=face.score)


def _shared(box: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the intersection over the union of two boxes."""
    low = np.maximum(box[:2], other[:2])
    high = np.minimum(box[:2] + box[2:], other[:2] + other[2:])
    both = float(np.prod(np.maximum(high - low, 0)))
    return both / (float(np.prod(box[2:]) + np.prod(other[2:])) - both + 1e-9)


def _looks(longest: int) -> list[tuple[int, int]]:
    """Return the squares to try, in order, and the longest side of the picture in each."""
    if longest <= 400:
        return [(160, 150), (320, 240), (640, 640)]
    looks = [(640, min(longest, 640)), (320, 200)]
    # The last ones take a second of work, and find faces lost in a large picture.
    return looks + [(side, min(longest, side)) for side in (1280, 2560) if longest > side // 2]
