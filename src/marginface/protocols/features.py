"""Features of a protocol's pictures: ready ones from a file, or a model's own.

A features file is a .npy array with one row per picture, in the order the reader lists them; it is
mapped, not read whole. Rows may be of any length. Zeros mean that no face could be acquired.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.alignment import align_face
from marginface.data.pictures import decode_picture, read_picture
from marginface.errors import DataError, NoFaceError, ProtocolFileError
from marginface.progress import track
from marginface.recognition.acquisition import find_face
from marginface.recognition.recognizer import BATCH_SIZE, Recognizer

ENDINGS = ("", ".jpg", ".jpeg", ".png", ".pgm", ".bmp")

Features = NDArray[np.floating[Any]]
Face = NDArray[np.uint8]


def load_features(path: str | Path, pictures: int, *, is_column: bool = False) -> Features:
    """Map a file of features, or of one number per picture.

    Args:
        path: A .npy file.
        pictures: How many there must be.
        is_column: One number per picture is wanted, not a row.

    Raises:
        ProtocolFileError: If it is no .npy of floats with one row per picture.
    """
    try:
        features = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as cause:
        raise ProtocolFileError(f"{path} must be a .npy array of features ({cause})") from cause
    if features.ndim != 2 - is_column or features.dtype.kind != "f" or len(features) != pictures:
        raise ProtocolFileError(
            f"{path} must hold floats, one {'number' if is_column else 'row'} for each of "
            f"{pictures:,} pictures, got {features.dtype} {features.shape}"
        )
    return features


def picture_features(
    recognizer: Recognizer,
    faces: Sequence[Callable[[], Face]],
    *,
    is_flip_summed: bool = True,
) -> tuple[NDArray[np.float32], list[tuple[int, str]]]:
    """Return the raw features of faces, mirrored ones added, and which could not be acquired.

    Args:
        recognizer: The model.
        faces: A function per picture that returns its aligned face.
        is_flip_summed: Add the feature of the mirrored face, as published figures do.

    Returns:
        Features, shape (faces, dim), with zeros for failed ones; and (row, reason) of these.
    """
    features = np.zeros((len(faces), recognizer.contract.dim), np.float32)
    failures: list[tuple[int, str]] = []
    waiting: dict[int, Face] = {}
    for row, face in enumerate(track(faces, "embedding", total=len(faces))):
        try:
            waiting[row] = face()
        except NoFaceError:
            failures.append((row, "no face found"))
        except (DataError, ValueError) as cause:
            failures.append((row, str(cause)))
        if len(waiting) == BATCH_SIZE or (waiting and row == len(faces) - 1):
            batch = list(waiting.values())
            features[list(waiting)] = _raw(recognizer, batch, is_flip_summed)
            waiting.clear()
    return features, failures


def faces_in_folder(
    root: str | Path, pictures: Sequence[str], recognizer: Recognizer, *, is_aligned: bool
) -> list[Callable[[], Face]]:
    """Return a function per picture that reads it and, unless aligned, finds its face.

    Raises:
        ProtocolFileError: If a picture is not there under any usual ending.
    """
    paths = [_find(Path(root), picture) for picture in pictures]
    if is_aligned:
        return [partial(read_picture, path) for path in paths]
    detector = recognizer.detector
    return [partial(find_face, path, detector) for path in paths]


def faces_at_points(
    root: str | Path, pictures: Sequence[str], points: NDArray[np.float64]
) -> list[Callable[[], Face]]:
    """Return a function per picture that aligns its face by the five points given for it."""
    paths = [_find(Path(root), picture) for picture in pictures]
    return [partial(_at_points, path, five) for path, five in zip(paths, points, strict=True)]


def faces_in_pack(pictures: Sequence[bytes | NDArray[np.uint8]]) -> list[Callable[[], Face]]:
    """Return a function per encoded picture of a .bin pack, whose faces are aligned."""
    return [partial(_decoded, content, f"picture {row}") for row, content in enumerate(pictures)]


def _at_points(path: Path, points: NDArray[np.float64]) -> Face:
    return align_face(read_picture(path), points)


def _decoded(content: bytes | NDArray[np.uint8], name: str) -> Face:
    return decode_picture(bytes(content), name)


def _raw(recognizer: Recognizer, batch: list[Face], is_flip_summed: bool) -> NDArray[np.float32]:
    # Faces of one batch may come in several sizes; the network resizes each by itself.
    sizes = {face.shape for face in batch}
    groups = [batch] if len(sizes) == 1 else [[face] for face in batch]
    parts = []
    for group in groups:
        faces = np.stack(group)
        raw = recognizer.network.features(faces)
        if is_flip_summed:
            raw = raw + recognizer.network.features(faces, is_mirrored=True)
        parts.append(raw)
    return np.concatenate(parts).astype(np.float32)


def _find(root: Path, picture: str) -> Path:
    for ending in ENDINGS:
        path = root / f"{picture}{ending}"
        if path.is_file():
            return path
    raise ProtocolFileError(f"picture {picture} of the list is not found under {root}")
