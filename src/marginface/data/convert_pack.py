"""Packs as a source and a target of conversion, with the stored bytes untouched."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from marginface.data.convert_sinks import Sink
from marginface.data.encoded_faces import EncodedFaces, FaceItem, Rows, Stored
from marginface.data.encodings import encode
from marginface.data.pack_writer import PackWriter
from marginface.data.packs import PackedFaces
from marginface.data.pictures import decode_picture
from marginface.data.sources import FolderFaces, open_folder
from marginface.errors import DataError


def open_pack(path: str | Path) -> EncodedFaces:
    """Open a pack as a set of encoded pictures; a raw one hands out pixels.

    Raises:
        DataError: If it is absent or broken.
    """
    pack = PackedFaces.open(path)
    return EncodedFaces(
        pack.path,
        "pack",
        PackStore(pack),
        labels=pack.labels,
        identities=pack.identities,
        list_names=lambda: pack.names,
        is_aligned=True,
        raw_size=pack.size if pack.encoding == "raw" else None,
        left_out=pack.left_out,
        meta=pack.meta,
    )


def open_identity_folder(path: str | Path) -> EncodedFaces:
    """Open an identity folder as a set of encoded pictures.

    Raises:
        DataError: If it is absent or empty.
    """
    folder = open_folder(path)
    return EncodedFaces(
        folder.path,
        "folder",
        FolderStore(folder),
        labels=folder.labels,
        identities=folder.identities,
        list_names=lambda: folder.names,
        left_out=folder.left_out,
        meta={"name": folder.path.name},
    )


class PackStore:
    """The stored bytes of a pack."""

    def __init__(self, pack: PackedFaces) -> None:
        self._offsets = pack._offsets
        self._view = np.asarray(pack._stored).data

    def contents(self, rows: Rows) -> Sequence[Stored]:
        """Return the stored pictures of some rows."""
        begins, ends = self._offsets[rows].tolist(), self._offsets[rows + 1].tolist()
        return [self._view[begin:end] for begin, end in zip(begins, ends, strict=True)]


class FolderStore:
    """The files of an identity folder."""

    def __init__(self, folder: FolderFaces) -> None:
        self._folder = folder

    def contents(self, rows: Rows) -> Sequence[Stored]:
        """Return the content of some files."""
        found = []
        for row in rows.tolist():
            file = self._folder.path / self._folder.names[row]
            try:
                found.append(file.read_bytes())
            except OSError as cause:
                raise DataError(f"{file} could not be read ({cause.strerror or cause})") from cause
        return found


class PackSink(Sink):
    """Write a pack; its pictures come raw, or all as JPEG, or all as PNG."""

    def start(self, state: dict[str, Any] | None) -> None:
        """Begin with the first picture, which says size and encoding, or go on with the pack."""
        self._writer: _GrowingPack | None = None
        if state is not None:
            self._writer = _GrowingPack(self.target, state)

    def write(self, item: FaceItem) -> None:
        """Append one picture as it is; it is decoded once, to be sure that the pack reads."""
        if self._writer is None:
            self._writer = _GrowingPack.for_picture(self.target, item)
        self._writer.append(item)

    def mark(self) -> dict[str, Any]:
        """Return all that the writer holds in memory."""
        assert self._writer is not None
        return self._writer.state()

    def finish(self) -> None:
        """Write names, labels and pack.json."""
        assert self._writer is not None
        self._writer.complete()

    def close(self) -> None:
        """Close the file of pictures."""
        if self._writer is not None:
            self._writer.close()


class _GrowingPack(PackWriter):
    """A pack writer that takes stored bytes, and can be taken up again after a kill.

    Names and lengths lie in two files beside the pictures, one line a picture.
    """

    def __init__(self, path: Path, state: dict[str, Any]) -> None:
        height, width = state["size"]
        super().__init__(path, size=(height, width), encoding=state["encoding"])
        self._folder = path.with_name(f"{path.name}.part")
        self._folder.mkdir(exist_ok=True)
        self._list = path.with_name(f"{path.name}.list")
        self._take_up(state["count"])

    @classmethod
    def for_picture(cls, path: Path, item: FaceItem) -> "_GrowingPack":
        """Return a new pack of the size and the encoding of its first picture."""
        encoding, size = _form(item)
        return cls(path, {"size": size, "encoding": encoding, "count": 0})

    def append(self, item: FaceItem) -> None:
        """Append stored bytes."""
        encoding, size = _form(item)
        if encoding != self.encoding or tuple(size) != self.size:
            raise DataError(
                f"{item.name} must be {self.encoding} of size {self.size} as the first picture of "
                f"the pack, got {encoding} of size {tuple(size)}; use an encoding other than keep, "
                "or align and resize with `marginface data pack`"
            )
        assert self._images is not None
        self._images.write(item.content)
        self._mark.add(item.content)
        self._lines.write(json.dumps([item.name, len(item.content)]) + "\n")
        self._enter(item.name, len(item.content))

    def state(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        assert self._images is not None
        self._images.flush()
        self._lines.flush()
        return {"size": list(self.size), "encoding": self.encoding, "count": len(self)}

    def close(self) -> None:
        """Close the files."""
        self._close_quietly()
        self._lines.close()

    def complete(self) -> None:
        """Make the pack appear."""
        self._finish()

    def _take_up(self, count: int) -> None:
        """Cut the files back to `count` pictures, and bring the fingerprint up to there."""
        lines = self._list.read_text(encoding="utf-8").splitlines()[:count] if count else []
        self._list.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self._lines = self._list.open("a", encoding="utf-8")
        for line in lines:
            name, length = json.loads(line)
            self._enter(name, length)
        images = self._folder / "images.bin"
        images.touch()
        os.truncate(images, sum(self._lengths))
        with images.open("rb") as stored:
            while block := stored.read(1 << 20):
                self._mark.add(block)
        self._images = images.open("ab")

    def _enter(self, name: str, length: int) -> None:
        self._names.append(name)
        self._owners.append(name.partition("/")[0])
        self._lengths.append(length)
        self._truth.append({})
        self._seen.add(name)


def prepared(item: FaceItem, encoding: str, *, takes_raw: bool) -> FaceItem:
    """Return a picture in the encoding wanted; "keep" leaves it as it is stored where that goes.

    Args:
        item: As the source stores it.
        encoding: "keep", "raw", "jpeg" or "png".
        takes_raw: Whether the target can hold pixels; if not, "keep" makes PNG of them.

    Raises:
        DataError: If it has to be decoded and does not.
    """
    is_raw = item.raw_size is not None
    if (encoding == "keep" and takes_raw >= is_raw) or (encoding == "raw" and is_raw):
        return item
    if item.raw_size is not None:
        image = np.frombuffer(item.content, np.uint8).reshape(*item.raw_size, 3)
    elif encoding == _kind(item.content):
        return item
    else:
        image = decode_picture(item.content, item.name)
    if encoding == "raw":
        return item._replace(content=image.tobytes(), raw_size=image.shape[:2])
    stored = encode(image, "png" if encoding == "keep" else encoding)
    return item._replace(content=stored, raw_size=None)


def _form(item: FaceItem) -> tuple[str, list[int]]:
    if item.raw_size is not None:
        return "raw", list(item.raw_size)
    if (kind := _kind(item.content)) == "other":
        raise DataError(
            f"{item.name} must be a JPEG or a PNG to be kept as it is in a pack, got "
            f"{item.content[:8]!r}; use the encoding raw, jpeg or png"
        )
    return kind, list(decode_picture(item.content, item.name).shape[:2])


def _kind(content: bytes) -> str:
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    return "png" if content.startswith(b"\x89PNG\r\n\x1a\n") else "other"
