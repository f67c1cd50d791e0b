"""YuNet: a picture to boxes, five points and scores.

The network finds faces of about 10 to 300 pixels of what it is given, so every picture is scaled
and set on a black square: small ones enlarged to 240 of 320 pixels, large ones shrunk to 640. Where
nothing is found, a second look at another scale follows: smaller for a face that fills the
picture, larger for one lost in it.

Source: Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research
    2023; the weights are OpenCV's, see `marginface.weights`.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.errors import WeightsError
from marginface.weights import resolve_weights

LOWEST_SCORE = 0.6
OVERLAP = 0.3


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
        try:
            self._network(320)
        except cv2.error as cause:
            raise WeightsError(
                f"{weights} must be the YuNet ONNX file, OpenCV refuses it ({cause.err or cause})"
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
        for side, longest in _looks(max(image.shape[:2])):
            if found := self._look(image, side, longest):
                return found
        return []

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


def _looks(longest: int) -> list[tuple[int, int]]:
    """Return the squares to try, in order, and the longest side of the picture in each."""
    if longest <= 400:
        return [(320, 240), (160, 112), (640, 640)]
    looks = [(640, min(longest, 640)), (320, 200)]
    return [*looks, (1280, min(longest, 1280))] if longest > 640 else looks
