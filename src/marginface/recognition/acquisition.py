"""One picture to one aligned face."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.alignment import align_face
from marginface.data.pictures import read_picture
from marginface.detection import Detector, choose_face
from marginface.errors import NoFaceError

Picture = str | Path | NDArray[np.uint8]


def open_picture(picture: Picture) -> NDArray[np.uint8]:
    """Return a picture as RGB uint8 of shape (height, width, 3), read if it is a path.

    Raises:
        DataError: If the file is absent, cut off, or not a picture.
        ValueError: If the array has another shape or type.
    """
    if isinstance(picture, str | Path):
        return read_picture(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(
            "picture must be a path, or RGB uint8 of shape (height, width, 3), "
            f"got {picture.dtype} {picture.shape}"
        )
    return picture


def find_face(picture: Picture, detector: Detector, *, name: str = "") -> NDArray[np.uint8]:
    """Return the largest central face of a picture, aligned to 112 by 112 pixels.

    Args:
        picture: A path, or RGB uint8 of shape (height, width, 3).
        detector: Finds the faces.
        name: What errors call the picture; by default its path, or "the picture".

    Raises:
        NoFaceError: If no face is found.
        DataError: If the file is absent, cut off, or not a picture.
    """
    image = open_picture(picture)
    faces = detector.detect(image)
    if not faces:
        height, width = image.shape[:2]
        called = name or (str(picture) if isinstance(picture, str | Path) else "the picture")
        raise NoFaceError(
            f"no face was found in {called} of {height} x {width} pixels; "
            "give a picture that shows one face upright, at least 20 pixels and a hundredth of the "
            "picture wide"
        )
    return align_face(image, choose_face(faces, (image.shape[0], image.shape[1])).points)
