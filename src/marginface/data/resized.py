"""A set of faces at another size, resized once and kept where memory allows."""

import threading
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class SizedFaces(Protocol):
    """A labelled set of pictures of one size, read by index; `PackedFaces` is one."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Row in `identities` of each picture."""

    @property
    def identities(self) -> list[str]:
        """The names behind the labels."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every picture."""

    @property
    def names(self) -> list[str]:
        """The name of each picture."""

    def read(self, indices: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Return pictures, shape (n, height, width, 3)."""


class ResizedFaces:
    """Read `faces` at `size`; what was read once stays in memory, up to `cache_bytes` in all.

    A raw set of the wanted size is never copied: the system's page cache holds it already. Threads
    may read together.

    Args:
        faces: The set.
        size: Side in pixels; the set's own if None.
        cache_bytes: A set that needs more is resized anew at each reading.
    """

    def __init__(self, faces: SizedFaces, *, size: int | None, cache_bytes: int) -> None:
        self.size = faces.size if size is None else (size, size)
        self._faces = faces
        count, (height, width) = len(faces.names), self.size
        needs_work = self.size != faces.size or getattr(faces, "encoding", "raw") != "raw"
        keeps = needs_work and count * height * width * 3 <= cache_bytes
        # np.empty takes memory only where it is written.
        self._kept = np.empty((count, height, width, 3), np.uint8) if keeps else None
        self._is_kept = np.zeros(count, dtype=np.bool_)
        self._lock = threading.Lock()

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pictures at `indices`, shape (n, *size, 3)."""
        if self._kept is None:
            return self._resized(indices)
        missing = np.unique(indices[~self._is_kept[indices]])
        if missing.size:
            fresh = self._resized(missing)
            with self._lock:
                self._kept[missing] = fresh
                self._is_kept[missing] = True
        return self._kept[indices]

    def _resized(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        images = self._faces.read(indices)
        if self.size == self._faces.size:
            return images
        resized = np.empty((len(images), *self.size, 3), dtype=np.uint8)
        for place, image in enumerate(images):
            resized[place] = resize_face(image, self.size)
        return resized


def resize_face(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return `image` at (height, width) `size`: by area going down, by cubic going up."""
    if image.shape[:2] == size:
        return image
    is_smaller = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    method = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size[::-1], interpolation=method), dtype=np.uint8)
