"""Squares of a picture: cut out, shrunk, turned."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray


def cut_out(image: NDArray[np.uint8], corner: tuple[int, int], side: int) -> NDArray[np.uint8]:
    """Return a square of the picture from `corner` (x, y), black where it reaches outside."""
    cut = np.zeros((side, side, 3), dtype=np.uint8)
    height, width = image.shape[:2]
    left, top = max(corner[0], 0), max(corner[1], 0)
    part = image[top : max(min(corner[1] + side, height), top), left : min(corner[0] + side, width)]
    row, column = top - corner[1], left - corner[0]
    cut[row : row + part.shape[0], column : column + part.shape[1]] = part
    return cut


def at_most(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Return the picture, shrunk to that longest side if it is larger."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def turning(side: int, turn_rad: float) -> NDArray[np.float64]:
    """Return the map, shape (2, 3), that turns a square about its middle, x towards y."""
    cosine, sine = math.cos(turn_rad), math.sin(turn_rad)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    middle = np.full(2, (side - 1) / 2)
    return np.column_stack([turn, middle - turn @ middle])


def turned(cut: NDArray[np.uint8], turn_rad: float) -> NDArray[np.uint8]:
    """Return a square turned about its middle, x towards y; black comes in at the corners."""
    if turn_rad == 0:
        return cut
    turn = turning(len(cut), turn_rad)
    return np.asarray(cv2.warpAffine(cut, turn, cut.shape[:2]), dtype=np.uint8)
