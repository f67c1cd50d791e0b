"""Folders of people to one aligned pack: find, choose, align, and list what was left out.

Nothing about a single picture stops the work. Reasons for leaving out: `unreadable`, `no face`,
`too small`, `no landmarks`, `not square`, `not a picture`. Where several faces are found, the
largest central one wins and the picture is noted.
"""

import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.alignment import align_face, scale_of, similarity_transform
from marginface.data.landmarks import read_landmarks
from marginface.data.ordered import ordered_map
from marginface.data.pack_format import Remark
from marginface.data.pack_writer import PackWriter
from marginface.data.pictures import read_picture
from marginface.data.resized import resize_face
from marginface.data.sources import FolderFaces, open_folder
from marginface.detection import Detector, choose_face
from marginface.errors import DataError
from marginface.progress import track

MIN_FACE_PX = 32.0


@dataclass(frozen=True, kw_only=True)
class PackReport:
    """What became of a folder.

    Args:
        path: The pack.
        images: In the pack.
        identities: In the pack.
        left_out: (name, reason, detail) of every picture that is not.
        notes: The same of pictures that are, but with a remark.
        fingerprint: Of the pack.
        seconds: The whole work took.
    """

    path: Path
    images: int
    identities: int
    left_out: list[Remark]
    notes: list[Remark]
    fingerprint: str
    seconds: float

    @property
    def reasons(self) -> dict[str, int]:
        """How many were left out for each reason, the most frequent first."""
        return dict(Counter(reason for _, reason, _ in self.left_out).most_common())


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    name: str
    image: NDArray[np.uint8] | None = None
    reason: str = ""
    detail: str = ""


def pack_folder(
    source: str | Path,
    out: str | Path,
    *,
    landmarks: str | Path | None = None,
    is_aligned: bool = False,
    detector: Detector | None = None,
    size: int = 112,
    encoding: str = "raw",
    min_face_px: float = MIN_FACE_PX,
    workers: int | None = None,
    may_replace: bool = False,
) -> PackReport:
    """Pack the identity folder `source` into `out`, which appears only when all is done.

    Args:
        source: Holds one folder a person.
        out: The pack to make; left_out.csv and notes.csv lie in it.
        landmarks: CSV with the five points of each picture; no detector is needed then.
        is_aligned: The pictures are aligned square crops already and are only resized.
        detector: YuNet with the public weights by default.
        size: Side of the crops in pixels.
        encoding: See `PackWriter`.
        min_face_px: Faces whose crop covers fewer pixels of the picture a side are left out.
        workers: Threads; all cores by default.
        may_replace: Take the place of a pack that is there already.

    Raises:
        ValueError: If a size is not one.
        DataError: If the source is absent, empty, or none of it is usable; if `out` is taken.
        ProtocolFileError: If the landmark file does not parse.
        WeightsError: If the detector's weights are nowhere to be found.
        CheckpointWriteError: If the disk refuses; what was at `out` before is untouched.
    """
    began = time.monotonic()
    if landmarks is not None and is_aligned:
        raise ValueError("landmarks must be None for pictures that are aligned already")
    if size < 1:
        raise ValueError(f"size must be 1 pixel or more, got {size}")
    if not min_face_px >= 0:
        raise ValueError(f"min_face_px must be 0 or more, got {min_face_px:g}")
    folder = open_folder(source)
    points = None if landmarks is None else _matching_landmarks(landmarks, folder)
    if points is None and not is_aligned:
        detector = detector or Detector.load()
    maker = _CropMaker(folder.path, points, detector, size, min_face_px, is_aligned=is_aligned)
    meta: dict[str, Any] = {
        "source": folder.path.resolve().name,
        "points": "aligned" if is_aligned else ("given" if landmarks else "yunet"),
        "template": "arcface-112",
        "min_face_px": min_face_px,
    }
    with PackWriter(
        out, size=size, encoding=encoding, meta=meta, may_replace=may_replace
    ) as writer:
        threads = workers or os.cpu_count() or 1
        outcomes = ordered_map(maker, folder.names, workers=threads)
        for outcome in track(outcomes, "packing", total=len(folder)):
            _write(writer, outcome)
        for name, reason, detail in folder.left_out:
            writer.leave_out(name, reason, detail)
        if not len(writer):
            raise _nothing_left(folder.path, writer.left_out)
    return PackReport(
        path=Path(out),
        images=len(writer),
        identities=len(writer.identities),
        left_out=writer.left_out,
        notes=writer.notes,
        fingerprint=writer.fingerprint,
        seconds=time.monotonic() - began,
    )


class _CropMaker:
    """Make one picture's crop, or say why there is none; called from several threads."""

    def __init__(
        self,
        folder: Path,
        points: Mapping[str, NDArray[np.float64]] | None,
        detector: Detector | None,
        size: int,
        min_face_px: float,
        *,
        is_aligned: bool,
    ) -> None:
        self._folder = folder
        self._points = points
        self._detector = detector
        self._size = size
        self._min_face_px = min_face_px
        self._is_aligned = is_aligned

    def __call__(self, name: str) -> _Outcome:
        try:
            image = read_picture(self._folder / name)
            return self._crop(name, image)
        except (DataError, OSError, MemoryError, ValueError, cv2.error) as cause:
            detail = str(cause).replace(f"{self._folder}{os.sep}", "")
            return _Outcome(name=name, reason="unreadable", detail=detail)

    def _crop(self, name: str, image: NDArray[np.uint8]) -> _Outcome:
        if self._is_aligned:
            if image.shape[0] != image.shape[1]:
                return _Outcome(name=name, reason="not square", detail=f"{image.shape[:2]}")
            return _Outcome(name=name, image=resize_face(image, (self._size, self._size)))
        reason = detail = ""
        if self._points is not None:
            if name not in self._points:
                return _Outcome(name=name, reason="no landmarks")
            points = self._points[name]
        else:
            assert self._detector is not None
            faces = self._detector.detect(image)
            if not faces:
                return _Outcome(name=name, reason="no face", detail=f"{image.shape[:2]} pixels")
            points = choose_face(faces, (image.shape[0], image.shape[1])).points
            if len(faces) > 1:
                reason, detail = "several faces", f"{len(faces)} found"
        covered = self._size / scale_of(similarity_transform(points, size=self._size))
        if covered < self._min_face_px:
            detail = f"{covered:.1f} px, {self._min_face_px:g} needed"
            return _Outcome(name=name, reason="too small", detail=detail)
        crop = align_face(image, points, size=self._size)
        return _Outcome(name=name, image=crop, reason=reason, detail=detail)


def _write(writer: PackWriter, outcome: _Outcome) -> None:
    if outcome.image is None:
        writer.leave_out(outcome.name, outcome.reason, outcome.detail)
        return
    writer.add(outcome.image, outcome.name.split("/")[0], outcome.name)
    if outcome.reason:
        writer.note(outcome.name, outcome.reason, outcome.detail)


def _matching_landmarks(path: str | Path, folder: FolderFaces) -> dict[str, NDArray[np.float64]]:
    points = read_landmarks(path)
    if not points.keys() & set(folder.names):
        example = next(iter(points), "no rows")
        raise DataError(
            f"{path} must name pictures of {folder.path} as {folder.names[0]!r}, got {example!r}"
        )
    return points


def _nothing_left(path: Path, left_out: list[Remark]) -> DataError:
    counts = Counter(reason for _, reason, _ in left_out).most_common()
    name, reason, detail = left_out[0]
    return DataError(
        f"no picture of {path} could be packed: "
        f"{', '.join(f'{count:,} {reason}' for reason, count in counts)}; "
        f"the first is {name} ({reason}: {detail})"
    )
