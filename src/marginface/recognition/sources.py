"""Embed the pictures of a set, each once, and count those in which no face could be acquired."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.data.ordered import ordered_map
from marginface.data.resized import resize_face
from marginface.data.sources import ImageSource
from marginface.detection import Detector
from marginface.errors import DataError, NoFaceError
from marginface.progress import track
from marginface.recognition.acquisition import find_face
from marginface.recognition.recognizer import BATCH_SIZE, Recognizer


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddedPictures:
    """What came of each picture that was asked for, in the order it was asked.

    Args:
        embeddings: Unit rows, shape (n, dim); rows of failed pictures are zero.
        norms: Lengths of the features before division, shape (n,); 0 for failed pictures. Their
            quality, where the training made the length one.
        failed: Whether no face could be acquired, shape (n,).
        failures: (name, reason) of each failed picture.
    """

    embeddings: NDArray[np.float32]
    norms: NDArray[np.float32]
    failed: NDArray[np.bool_]
    failures: list[tuple[str, str]]


def embed_source(
    recognizer: Recognizer,
    source: ImageSource,
    indices: Sequence[int] | NDArray[np.int64],
    *,
    is_aligned: bool | None = None,
    flip_average: bool | None = None,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
) -> EmbeddedPictures:
    """Embed the pictures at `indices`; one that fails is counted and stops nothing.

    Args:
        recognizer: The model; its detector is used unless `is_aligned`.
        source: The set, a pack or a folder of people.
        indices: Which pictures; each is read as often as it stands here.
        is_aligned: The pictures are crops on the contract's template; otherwise the largest
            central face of each is found and aligned. None for what the source says of itself.
        flip_average: See `Recognizer.embed_aligned`.
        batch_size: Faces a pass.
        workers: Threads that find and align faces while others are embedded; all cores by default.

    Raises:
        WeightsError: If the detector's weights are nowhere to be found.
        ModelFileError: If the network gives NaN, infinity or another length.
    """
    return embed_source_by(
        [recognizer],
        source,
        indices,
        is_aligned=is_aligned,
        flip_average=flip_average,
        batch_size=batch_size,
        workers=workers,
    )[0]


def embed_source_by(
    recognizers: Sequence[Recognizer],
    source: ImageSource,
    indices: Sequence[int] | NDArray[np.int64],
    *,
    is_aligned: bool | None = None,
    flip_average: bool | None = None,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
) -> list[EmbeddedPictures]:
    """Embed the same pictures by several models, each face found once; see `embed_source`.

    Args:
        recognizers: Of one input size; the detector of the first is used.
        source: As there, and so are all others.
        indices: Which pictures.
        is_aligned: The pictures are crops.
        flip_average: Add the mirrored face.
        batch_size: Faces a pass.
        workers: Threads.

    Returns:
        What came of the pictures, by model.

    Raises:
        WeightsError: If the detector's weights are nowhere to be found.
        ModelFileError: If a network gives NaN, infinity or another length.
    """
    acquired = acquire_faces(
        recognizers[0], source, indices, is_aligned=is_aligned, workers=workers
    )
    embeddings = [np.zeros((len(indices), each.contract.dim), np.float32) for each in recognizers]
    norms = [np.zeros(len(indices), np.float32) for _ in recognizers]
    failures: dict[int, str] = {}
    waiting: dict[int, NDArray[np.uint8]] = {}

    def embed_waiting() -> None:
        faces = np.stack(list(waiting.values()))
        for recognizer, rows, lengths in zip(recognizers, embeddings, norms, strict=True):
            rows[list(waiting)], lengths[list(waiting)] = recognizer.embed_with_norms(
                faces, flip_average=flip_average, batch_size=batch_size
            )
        waiting.clear()

    for place, face in enumerate(track(acquired, "embedding", total=len(indices))):
        if isinstance(face, str):
            failures[place] = face
            continue
        waiting[place] = face
        if len(waiting) == batch_size:
            embed_waiting()
    if waiting:
        embed_waiting()
    failed = np.isin(np.arange(len(indices)), list(failures))
    named = [(source.names[int(indices[place])], why) for place, why in failures.items()]
    return [
        EmbeddedPictures(embeddings=rows, norms=lengths, failed=failed, failures=named)
        for rows, lengths in zip(embeddings, norms, strict=True)
    ]


def acquire_faces(
    recognizer: Recognizer,
    source: ImageSource,
    indices: Sequence[int] | NDArray[np.int64],
    *,
    is_aligned: bool | None = None,
    workers: int | None = None,
) -> Iterator[NDArray[np.uint8] | str]:
    """Return the face of each picture at the model's input size, or why there is none, in order.

    Args:
        recognizer: The model; see `embed_source`, and so for all others.
        source: The set.
        indices: Which pictures.
        is_aligned: The pictures are crops.
        workers: Threads.

    Raises:
        WeightsError: If the detector's weights are nowhere to be found.
    """
    is_aligned = source.is_aligned if is_aligned is None else is_aligned
    # Loaded outside the threads, so that absent weights are an error and not thousands of failures.
    detector = None if is_aligned else recognizer.detector
    acquire = partial(_acquire, source, detector, recognizer.contract.input_size)
    threads = 1 if is_aligned else workers or os.cpu_count() or 1
    return iter(ordered_map(acquire, map(int, indices), workers=threads))


def _acquire(
    source: ImageSource, detector: Detector | None, size: tuple[int, int], index: int
) -> NDArray[np.uint8] | str:
    """Return the face of one picture at the network's size, or why there is none."""
    try:
        picture = source.read([index])[0]
        face = picture if detector is None else find_face(picture, detector)
        return resize_face(face, size)
    except NoFaceError:
        return "no face found"
    except (DataError, ValueError, MemoryError, cv2.error) as cause:
        return str(cause).replace(f"{source.path}{os.sep}", "")
