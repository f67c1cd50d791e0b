"""Reading a pack: memory-mapped, by random access, and never changed."""

import csv
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.data.encodings import ENCODINGS, decode
from marginface.data.pack_format import FORMAT, VERSION, Fingerprint, Remark, Truth, is_pack
from marginface.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedFaces:
    """An aligned set of faces on the disk, open for reading; `open` makes one.

    Args:
        path: Its folder.
        size: (height, width) of every picture, in pixels.
        encoding: How the pictures are stored.
        names: "identity/identity_0001.jpg" of every picture, as in the source.
        labels: Row in `identities` of every picture, shape (images,).
        identities: Sorted.
        fingerprint: SHA-256 of the content, 64 hexadecimal digits.
        meta: What the writer said about the set.
        truth: Arrays of one row a picture; empty for photographs.
        left_out: (name, reason, detail) of the source's pictures that are not here.
        notes: The same of pictures that are here, but with a remark.
    """

    path: Path
    size: tuple[int, int]
    encoding: str
    names: list[str]
    labels: NDArray[np.int64]
    identities: list[str]
    fingerprint: str
    meta: dict[str, Any]
    truth: Truth
    left_out: list[Remark]
    notes: list[Remark]
    _stored: NDArray[np.uint8] = field(repr=False)
    _offsets: NDArray[np.int64] = field(repr=False)
    _rows: NDArray[np.int64] = field(repr=False)

    @classmethod
    def open(cls, path: str | Path) -> "PackedFaces":
        """Open the pack in the folder `path`.

        Raises:
            DataError: If it is absent, of a newer format, or broken.
        """
        path = Path(path)
        if not is_pack(path):
            what = "has no pack.json" if path.is_dir() else "is not there"
            raise DataError(f"{path} must be a pack, but {what}; `marginface data pack` makes one")
        try:
            return cls(**_load(path))
        except (OSError, ValueError, KeyError, TypeError) as cause:
            raise DataError(f"pack {path} is broken ({cause}); make it again") from cause

    @property
    def is_aligned(self) -> bool:
        """Whether the pictures are aligned crops of one size: always, in a pack."""
        return True

    def __len__(self) -> int:
        return len(self.names)

    def read(self, indices: Sequence[int] | NDArray[Any]) -> NDArray[np.uint8]:
        """Return the pictures at `indices`, RGB, shape (n, height, width, 3).

        Raises:
            IndexError: If an index is outside the set.
            DataError: If a stored picture does not decode.
        """
        asked = np.asarray(indices, dtype=np.int64).reshape(-1)
        rows = self._rows[asked]
        if self.encoding == "raw":
            return self._stored.reshape(-1, *self.size, 3)[rows]
        images = np.empty((len(rows), *self.size, 3), dtype=np.uint8)
        for place, row in enumerate(rows):
            stored = self._stored[self._offsets[row] : self._offsets[row + 1]]
            try:
                images[place] = decode(stored, self.encoding, self.size)
            except DataError as cause:
                name = self.names[asked[place]]
                raise DataError(
                    f"{self.path}: {name}: {cause}; `marginface data inspect {self.path}` lists "
                    "all that do not decode and tells if the pack was altered"
                ) from cause
        return images

    def index_of(self, name: str) -> int:
        """Return the index of the picture called `name`.

        Raises:
            DataError: If there is none.
        """
        index = self._index.get(name)
        if index is None:
            raise DataError(f"image {name!r} not found in {self.path} of {len(self):,} images")
        return index

    def subset(self, identities: Collection[str]) -> "PackedFaces":
        """Return a view of the pictures of `identities`, labels counted anew in sorted order.

        Names that have no picture here are passed over: packing may have left all of them out.

        Raises:
            DataError: If not one of them is here.
        """
        wanted = set(identities)
        kept, chosen, labels = choose_people(self.path, self.identities, self.labels, wanted)
        names = [self.names[index] for index in chosen]
        mark = Fingerprint()
        mark.add(self.fingerprint.encode())
        return PackedFaces(
            path=self.path,
            size=self.size,
            encoding=self.encoding,
            names=names,
            labels=labels,
            identities=kept,
            fingerprint=mark.close(form={}, names=names, labels=labels, identities=kept, truth={}),
            meta=self.meta,
            truth={key: values[chosen] for key, values in self.truth.items()},
            left_out=[row for row in self.left_out if row[0].split("/")[0] in wanted],
            notes=[row for row in self.notes if row[0].split("/")[0] in wanted],
            _stored=self._stored,
            _offsets=self._offsets,
            _rows=self._rows[chosen],
        )

    def verify(self) -> None:
        """Read everything and compare with the fingerprint in pack.json.

        Raises:
            DataError: If a single byte differs.
        """
        whole = PackedFaces.open(self.path)
        mark = Fingerprint()
        mark.add(whole._stored.data)
        found = mark.close(
            form={"size": list(whole.size), "encoding": whole.encoding},
            names=whole.names,
            labels=whole.labels,
            identities=whole.identities,
            truth=whole.truth,
        )
        if found != whole.fingerprint:
            raise DataError(
                f"pack {self.path} must have the fingerprint {whole.fingerprint[:12]}, "
                f"got {found[:12]}; it was altered, make it again"
            )

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}


def _load(path: Path) -> dict[str, Any]:
    described = json.loads((path / "pack.json").read_text(encoding="utf-8"))
    if described.get("format") != FORMAT:
        raise DataError(f"{path}/pack.json must say format {FORMAT!r}, got {described}")
    if described["version"] > VERSION:
        raise DataError(
            f"pack {path} has format version {described['version']}, this marginface reads up to "
            f"{VERSION}; install a newer one"
        )
    if described["encoding"] not in ENCODINGS:
        raise ValueError(f"unknown encoding {described['encoding']!r}")
    height, width = described["size"]
    loaded: dict[str, Any] = {
        "path": path,
        "size": (height, width),
        "encoding": described["encoding"],
        "names": json.loads((path / "names.json").read_text(encoding="utf-8")),
        "labels": np.load(path / "labels.npy", allow_pickle=False),
        "identities": described["identities"],
        "fingerprint": described["fingerprint"],
        "meta": described["meta"],
        "truth": _load_truth(path / "truth.npz"),
        "left_out": _read_remarks(path / "left_out.csv"),
        "notes": _read_remarks(path / "notes.csv"),
        "_stored": np.memmap(path / "images.bin", mode="r", dtype=np.uint8)
        if described["count"]
        else np.zeros(0, np.uint8),
        "_rows": np.arange(described["count"]),
    }
    if described["encoding"] == "raw":
        loaded["_offsets"] = np.arange(described["count"] + 1) * (height * width * 3)
    else:
        loaded["_offsets"] = np.load(path / "offsets.npy", allow_pickle=False)
    _check(loaded, described["count"])
    return loaded


def _check(loaded: dict[str, Any], count: int) -> None:
    for key, expected in (("names", count), ("labels", count), ("_offsets", count + 1)):
        if len(loaded[key]) != expected:
            raise ValueError(
                f"{key.strip('_')} must hold {expected:,} rows, got {len(loaded[key]):,}"
            )
    if (held := loaded["_stored"].size) != (expected := int(loaded["_offsets"][-1])):
        raise ValueError(f"images.bin must hold {expected:,} bytes, got {held:,}")
    check_labels(loaded["labels"], len(loaded["identities"]))


def check_labels(labels: ArrayLike, identities: int) -> None:
    """Raise unless every label lies in [0, identities).

    Raises:
        ValueError: If not, with the first row at fault.
    """
    values = np.asarray(labels)
    wrong = np.flatnonzero((values < 0) | (values >= identities))
    if wrong.size:
        raise ValueError(
            f"labels must lie in [0, {identities:,}), got {values[wrong[0]]} in row {wrong[0]:,}"
        )


def _load_truth(file: Path) -> Truth:
    if not file.exists():
        return {}
    with np.load(file, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def _read_remarks(file: Path) -> list[Remark]:
    with file.open(encoding="utf-8", newline="") as text:
        return [(row[0], row[1], row[2]) for row in list(csv.reader(text))[1:]]


def choose_people(
    path: Path, identities: Sequence[str], labels: NDArray[np.int64], wanted: Collection[str]
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Return the wanted identities that are there, their rows, and their labels counted anew.

    Raises:
        DataError: If not one of them is there.
    """
    kept = [name for name in identities if name in wanted]
    if not kept:
        raise DataError(
            f"identities must name some of {path}, which holds "
            f"{', '.join(identities[:2])}, ...; got {len(wanted):,} others "
            f"({', '.join(sorted(wanted)[:2])}, ...)"
        )
    old = np.array([row for row, name in enumerate(identities) if name in wanted])
    chosen = np.flatnonzero(np.isin(labels, old))
    return kept, chosen, np.searchsorted(old, labels[chosen]).astype(np.int64)
