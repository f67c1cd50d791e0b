"""A face found: its box, its points, and how both move with the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def scaled(face: Detection, back: NDArray[np.float64]) -> Detection:
    """Return a face found in a shrunk picture as it is in the picture, `back` times as large."""
    box = face.box * np.tile(back, 2)
    return Detection(box=box, points=face.points * back, score=face.score)


def mirrored(face: Detection, width: int) -> Detection:
    """Return a face found in a mirrored picture of that width, as it is in the picture."""
    left, top, wide, tall = face.box
    points = face.points[_MIRRORED_POINTS]
    points[:, 0] = width - points[:, 0]
    box = np.array([width - left - wide, top, wide, tall])
    return Detection(box=box, points=points, score=face.score)


def central(faces: Sequence[Detection], side: int) -> Detection | None:
    """Return the best face of a cut of that side if it is the one it was cut out for, or None."""
    for face in faces:
        distance = float(np.linalg.norm(face.box[:2] + face.box[2:] / 2 - side / 2))
        if distance < 0.2 * side and float(face.box[3]) > 0.25 * side:
            return face
    return None


def shared(box: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the intersection over the union of two boxes."""
    low = np.maximum(box[:2], other[:2])
    high = np.minimum(box[:2] + box[2:], other[:2] + other[2:])
    both = float(np.prod(np.maximum(high - low, 0)))
    return both / (float(np.prod(box[2:]) + np.prod(other[2:])) - both + 1e-9)
