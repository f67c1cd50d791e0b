"""A labelled set of pictures that are stored encoded, whatever the file they lie in.

Every format has a `Store`, which hands out stored bytes by row; the rest is the same for all and
stands here: names, labels, subsets, decoding into a batch, and the stream of items to convert.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.data.pack_format import Fingerprint, Remark
from marginface.data.packs import choose_people
from marginface.data.pictures import decode_picture
from marginface.errors import DataError
from marginface.progress import track

# Enough to make the calls cheap, and few enough to keep a file's content out of memory.
_BLOCK = 256
Stored = bytes | memoryview
Rows = NDArray[np.int64]


class FaceItem(NamedTuple):
    """One picture on its way from a format to another.

    Args:
        identity: Whose face it is.
        label: Row in the set's sorted identities.
        name: "identity/identity_0001.jpg".
        content: The bytes of a picture file; of a raw picture, its pixels.
        raw_size: (height, width) of a raw picture, RGB; None for a picture file.
    """

    identity: str
    label: int
    name: str
    content: bytes
    raw_size: tuple[int, int] | None = None


class Checksum:
    """SHA-256 of each (identity, name, bytes), added modulo 2**256.

    So the order does not count, and the same pictures have the same sum in every format. It finds
    what was altered by accident; it is no seal against somebody who wants to forge one.
    """

    def __init__(self, hexadecimal: str = "0") -> None:
        self._sum = int(hexadecimal, 16)

    def add(self, item: FaceItem) -> None:
        """Take in one picture."""
        digest = hashlib.sha256(f"{item.identity}\0{item.name}\0{len(item.content)}\0".encode())
        digest.update(item.content)
        self._sum = (self._sum + int.from_bytes(digest.digest(), "big")) & ((1 << 256) - 1)

    @property
    def hexadecimal(self) -> str:
        """The sum so far, 64 hexadecimal digits."""
        return f"{self._sum:064x}"


@runtime_checkable
class Store(Protocol):
    """Where the bytes of a set lie; one class a format."""

    def contents(self, rows: Rows, /) -> Sequence[Stored]:
        """Return the stored bytes of some rows, in that order."""


class EncodedFaces:
    """A set of pictures in some file, open for reading; `open_encoded` makes one.

    It reads like a `PackedFaces`, so that a network trains on it as it is. Decoding is done each
    time; pictures of one call to `read` must be of one size.

    Args:
        path: Where it lies.
        kind: The format, a key of `FORMATS`.
        store: Hands out the bytes.
        labels: Row in `identities` of each picture.
        identities: Sorted.
        list_names: Makes the names of all rows of the store, when first needed.
        is_aligned: Whether the pictures are aligned crops of one size.
        raw_size: (height, width), if the stored bytes are pixels.
        left_out: (name, reason, detail) of what lies there and cannot be read.
        meta: What else is known of the set.
        rows: Rows of the store, if not all.
        parent_mark: The fingerprint of the set this is a part of.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        store: Store,
        *,
        labels: Rows,
        identities: list[str],
        list_names: Callable[[], list[str]],
        is_aligned: bool = False,
        raw_size: tuple[int, int] | None = None,
        left_out: Sequence[Remark] = (),
        meta: dict[str, Any] | None = None,
        rows: Rows | None = None,
        parent_mark: str = "",
    ) -> None:
        if not len(labels):
            raise DataError(f"{path} must hold pictures, got none")
        self.path = path
        self.kind = kind
        self.labels = labels
        self.identities = identities
        self.is_aligned = is_aligned
        self.raw_size = raw_size
        self.left_out = list(left_out)
        self.meta = dict(meta or {})
        self._store = store
        self._list_names = list_names
        self._rows = rows
        self._parent_mark = parent_mark

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def names(self) -> list[str]:
        """The name of each picture."""
        return self._list_names()

    @property
    def encoding(self) -> str:
        """What reading costs: "raw" pixels are copied, any other picture is decoded each time."""
        return "encoded" if self.raw_size is None else "raw"

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first picture, which all must have to be trained on."""
        height, width, _ = next(self.pictures([0])).shape
        return (height, width)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of names, labels and all stored bytes, found by reading them once."""
        mark = Fingerprint()
        mark.add(self._parent_mark.encode())
        if not self._parent_mark:
            blocks = list(self._blocks(np.arange(len(self))))
            for rows in track(blocks, f"fingerprint of {self.path.name}, {_BLOCK} pictures each"):
                for content in self.stored(rows):
                    mark.add(content)
        return mark.close(
            form={"kind": self.kind},
            names=self.names,
            labels=self.labels,
            identities=self.identities,
            truth={},
        )

    def stored(self, indices: Sequence[int] | NDArray[Any]) -> Sequence[Stored]:
        """Return the stored bytes of the pictures at `indices`, without a copy where that goes.

        Raises:
            IndexError: If an index is outside the set.
            DataError: If the file is broken there.
        """
        asked = np.asarray(indices, dtype=np.int64).reshape(-1)
        return self._store.contents(asked if self._rows is None else self._rows.take(asked))

    def read(
        self,
        indices: Sequence[int] | NDArray[Any],
        *,
        is_mirrored: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.uint8]:
        """Return the pictures at `indices`, RGB, shape (n, height, width, 3).

        Args:
            indices: Which.
            is_mirrored: Which of them to mirror left to right, shape (n,).

        Raises:
            IndexError: If an index is outside the set.
            DataError: If one does not decode, or is of another size than the first.
        """
        images = np.zeros((0, 0, 0, 3), np.uint8)
        for place, image in enumerate(self.pictures(indices)):
            if place == 0:
                images = np.empty((len(indices), *image.shape), np.uint8)
            if is_mirrored is not None and is_mirrored[place]:
                cv2.flip(image, 1, dst=images[place])
            else:
                images[place] = image
        return images

    def pictures(
        self, indices: Sequence[int] | NDArray[Any], *, size: tuple[int, int] | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield the pictures at `indices`, RGB, shape (height, width, 3).

        Args:
            indices: Which.
            size: (height, width) all must have; that of the first by default.

        Raises:
            IndexError: If an index is outside the set.
            DataError: If one does not decode, or is of another size.
        """
        asked = np.asarray(indices, dtype=np.int64).reshape(-1)
        for index, content in zip(asked.tolist(), self.stored(asked), strict=True):
            image = self._decoded(content, index)
            size = size or image.shape[:2]
            if image.shape[:2] != size:
                raise DataError(
                    f"{self.path}: {self.names[index]} must have the size {size} of the others, "
                    f"got {image.shape[:2]}"
                )
            yield image

    def items(self, order: Rows | None = None) -> Iterator[FaceItem]:
        """Yield pictures one after the other, as they are stored.

        Args:
            order: Which and in what order; all, by default.

        Raises:
            DataError: If the file is broken somewhere.
        """
        names, identities, raw_size = self.names, self.identities, self.raw_size
        for rows in self._blocks(np.arange(len(self)) if order is None else order):
            labels = self.labels[rows].tolist()
            for row, label, content in zip(rows.tolist(), labels, self.stored(rows), strict=True):
                yield FaceItem(identities[label], label, names[row], bytes(content), raw_size)

    def subset(self, identities: Collection[str]) -> "EncodedFaces":
        """Return a view of the pictures of `identities`, labels counted anew in sorted order.

        Raises:
            DataError: If not one of them is here.
        """
        wanted = set(identities)
        kept, chosen, labels = choose_people(self.path, self.identities, self.labels, wanted)
        return EncodedFaces(
            self.path,
            self.kind,
            self._store,
            labels=labels,
            identities=kept,
            list_names=lambda: [self.names[row] for row in chosen.tolist()],
            is_aligned=self.is_aligned,
            raw_size=self.raw_size,
            left_out=[row for row in self.left_out if row[0].split("/")[0] in wanted],
            meta=self.meta,
            rows=chosen if self._rows is None else self._rows[chosen],
            parent_mark=self.fingerprint,
        )

    def _decoded(self, content: Stored, index: int) -> NDArray[np.uint8]:
        if self.raw_size is not None:
            return np.frombuffer(content, np.uint8).reshape(*self.raw_size, 3)
        if (image := decoded_jpeg(content)) is not None:
            return image
        return decode_picture(bytes(content), f"{self.path}: {self.names[index]}")

    @staticmethod
    def _blocks(rows: Rows) -> Iterator[Rows]:
        for begin in range(0, len(rows), _BLOCK):
            yield rows[begin : begin + _BLOCK]


def decoded_jpeg(content: Stored) -> NDArray[np.uint8] | None:
    """Return the RGB picture of a JPEG that ends as one must; None sends it to the strict reader.

    That one looks for an end mark behind the last scan in any file and costs 4 % more.
    """
    if bytes(content[:3]) != b"\xff\xd8\xff" or bytes(content[-2:]) != b"\xff\xd9":
        return None
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, dtype=np.uint8)


def identity_rows(owners: Sequence[str]) -> tuple[list[str], Rows]:
    """Return sorted identities and the row of each owner in them.

    Example:
        >>> identity_rows(["b", "a", "b"])
        (['a', 'b'], array([1, 0, 1]))
    """
    identities = sorted(set(owners))
    rows = {identity: row for row, identity in enumerate(identities)}
    return identities, np.array([rows[owner] for owner in owners], dtype=np.int64)
