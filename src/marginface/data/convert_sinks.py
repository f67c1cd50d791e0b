"""Where converted pictures go: what every writer can do, and the writers of .rec and folders.

A sink writes into a work folder and can say at every `chunk` pictures how much of that is whole. A
killed run starts a new sink with the last such state, which throws away what came after it.
"""

from abc import ABC, abstractmethod
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from marginface.data.encoded_faces import FaceItem, Rows
from marginface.data.pictures import ENDINGS
from marginface.data.rec_pack import LAST_EXACT
from marginface.data.recordio import RecordWriter, pack_header
from marginface.errors import DataError


class Sink(ABC):
    """Take the pictures of a set, one by one, into files in a work folder.

    Args:
        target: The file or folder to make there.
        labels: Of all pictures that will come, in their order.
        chunk: Pictures between two marks.
    """

    def __init__(self, target: Path, labels: Rows, *, chunk: int) -> None:
        self.target = target
        self.labels = labels
        self.chunk = chunk

    @abstractmethod
    def start(self, state: dict[str, Any] | None) -> None:
        """Begin, or go on after the last mark of a killed run."""

    @abstractmethod
    def write(self, item: FaceItem) -> None:
        """Take one picture."""

    @abstractmethod
    def mark(self) -> dict[str, Any]:
        """Hand what came to the system, and return what `start` needs to go on from here."""

    @abstractmethod
    def finish(self) -> None:
        """Complete the target."""

    def close(self) -> None:
        """Close what is open; called after `finish` and after any error."""
        return


class RecSink(Sink):
    """Write a .rec with header and identity records, its .idx, and names in its .lst.

    The pictures of one person must come together: an identity record says from where to where.

    Raises:
        DataError: If they do not, or there are more records than float32 can count.
    """

    def start(self, state: dict[str, Any] | None) -> None:
        """Begin, or cut the files back to the last mark."""
        self._files: list[BinaryIO] = []
        changes = np.flatnonzero(np.diff(self.labels)) + 1
        self._begins = np.concatenate([[0], changes]) + 1
        if len(self._begins) != len(np.unique(self.labels)):
            raise DataError(f"{self.target}: pictures of one person must come together in a .rec")
        if len(self.labels) + len(self._begins) + 1 > LAST_EXACT:
            raise DataError(
                f"{self.target} can count up to {LAST_EXACT:,} records, since its header holds "
                f"float32, got {len(self.labels):,} pictures; write several"
            )
        endings = (".rec", ".idx", ".lst")
        paths = [self.target.with_suffix(ending) for ending in endings]
        self._files = [path.open("r+b" if state else "wb") for path in paths]
        lengths = state["lengths"] if state else [0, 0, 0]
        for file, length in zip(self._files, lengths, strict=True):
            file.truncate(length)
            file.seek(length)
        self._writer = RecordWriter(self._files[0], position=lengths[0])
        self._next = state["next"] if state else 1

    def write(self, item: FaceItem) -> None:
        """Append one record."""
        if "\t" in item.name or "\n" in item.name:
            raise DataError(f"{item.name!r}: a name in a .lst must have no tabs and line ends")
        key = self._next
        self._append(key, pack_header(float(item.label), id=key) + item.content)
        self._files[2].write(f"{key}\t{item.label}\t{item.name}\n".encode())
        self._next += 1

    def mark(self) -> dict[str, Any]:
        """Return how long each file is and which record comes next."""
        for file in self._files:
            file.flush()
        return {"lengths": [file.tell() for file in self._files], "next": self._next}

    def finish(self) -> None:
        """Append the header and the identity records, as insightface's own writer does."""
        first = self._next
        begins = [*self._begins.tolist(), first]
        self._append(0, pack_header([float(first), float(first + len(begins) - 1)], id=0))
        for row, (begin, end) in enumerate(pairwise(begins)):
            key = first + row
            self._append(key, pack_header([float(begin), float(end)], id=key))
        self.close()

    def close(self) -> None:
        """Close the three files."""
        for file in self._files:
            file.close()

    def _append(self, key: int, payload: bytes) -> None:
        self._files[1].write(b"%d\t%d\n" % (key, self._writer.write(payload)))


class FolderSink(Sink):
    """Write picture files into one folder a person."""

    def start(self, state: dict[str, Any] | None) -> None:
        """Begin; what a killed run wrote after its last mark is written again."""
        self.target.mkdir(parents=True, exist_ok=True)
        self._made: set[str] = set()

    def write(self, item: FaceItem) -> None:
        """Write one file."""
        file = self.target / safe_name(item.identity, item.name)
        if file.suffix.lower() not in ENDINGS:
            raise DataError(
                f"{item.name!r}: a picture in a folder must end in one of "
                f"{', '.join(sorted(ENDINGS))}"
            )
        if item.identity not in self._made:
            file.parent.mkdir(exist_ok=True)
            self._made.add(item.identity)
        file.write_bytes(item.content)

    def mark(self) -> dict[str, Any]:
        """Return nothing: every file written is whole."""
        return {}

    def finish(self) -> None:
        """Nothing is left to do."""


def safe_name(identity: str, name: str) -> str:
    """Return `name` if it is "identity/file", and neither part leads elsewhere.

    Raises:
        DataError: If it is not.

    Example:
        >>> safe_name("anna", "anna/1.jpg")
        'anna/1.jpg'
    """
    folder, _, file = name.partition("/")
    parts = (folder, file)
    is_safe = folder == identity and all(
        part and not part.startswith(".") and not {"/", "\\", "\0"} & set(part) for part in parts
    )
    if not is_safe:
        raise DataError(f"a name must be 'identity/picture' of {identity!r}, got {name!r}")
    return name
