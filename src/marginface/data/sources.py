"""Where pictures come from: an identity folder as it is, or a set of another format; read alike.

SOURCE/anna/anna_0001.jpg     one folder a person, any picture names
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from marginface.data.pack_format import Remark
from marginface.data.pictures import ENDINGS, read_picture
from marginface.errors import DataError


@runtime_checkable
class ImageSource(Protocol):
    """Pictures of named people; those of a pack are aligned, those of a folder are as taken."""

    @property
    def path(self) -> Path:
        """Where it lies."""

    @property
    def names(self) -> list[str]:
        """The name of each picture, as identity/identity_0001.jpg."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Row in `identities` of each picture."""

    @property
    def identities(self) -> list[str]:
        """Sorted names of people."""

    @property
    def is_aligned(self) -> bool:
        """Whether the pictures are aligned crops of one size."""

    @property
    def left_out(self) -> list[Remark]:
        """(name, reason, detail) of pictures that exist and cannot be read from here."""

    def read(
        self, indices: Sequence[int] | NDArray[Any], /
    ) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
        """Return RGB pictures, each of shape (height, width, 3)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FolderFaces:
    """An identity folder, read picture by picture; `open_folder` makes one."""

    path: Path
    names: list[str]
    labels: NDArray[np.int64]
    identities: list[str]
    strangers: list[str]

    @property
    def is_aligned(self) -> bool:
        """Whether the pictures are aligned crops: never known of a folder."""
        return False

    @property
    def left_out(self) -> list[Remark]:
        """Files with an ending that is no picture's."""
        return [(name, "not a picture", "ending") for name in self.strangers]

    def __len__(self) -> int:
        return len(self.names)

    def read(self, indices: Sequence[int] | NDArray[Any]) -> list[NDArray[np.uint8]]:
        """Return the pictures at `indices`, RGB, each of its own size.

        Raises:
            DataError: If one does not decode; the message names it.
        """
        return [read_picture(self.path / self.names[int(index)]) for index in indices]


def open_folder(path: str | Path) -> FolderFaces:
    """List an identity folder: SOURCE/identity/picture, sorted by name; hidden files are not seen.

    Raises:
        DataError: If it is absent, not a folder, or holds no picture in a folder of its own.
    """
    path = Path(path)
    if not path.is_dir():
        what = "a file" if path.exists() else "nothing there"
        raise DataError(f"{path} must be a folder with one folder per person, got {what}")
    names: list[str] = []
    strangers: list[str] = []
    for folder in sorted(path.iterdir(), key=lambda entry: entry.name):
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if file.name.startswith(".") or not file.is_file():
                continue
            kind = names if file.suffix.lower() in ENDINGS else strangers
            kind.append(f"{folder.name}/{file.name}")
    if not names:
        raise DataError(
            f"{path} must hold {path.name}/PERSON/PICTURE.jpg, {_found(path, strangers)}"
        )
    owners = [name.split("/")[0] for name in names]
    identities = sorted(set(owners))
    rows = {identity: row for row, identity in enumerate(identities)}
    return FolderFaces(
        path=path,
        names=names,
        labels=np.array([rows[owner] for owner in owners], dtype=np.int64),
        identities=identities,
        strangers=strangers,
    )


def _found(path: Path, strangers: list[str]) -> str:
    loose = sum(1 for file in path.iterdir() if file.suffix.lower() in ENDINGS)
    if loose:
        return f"got {loose:,} pictures without a folder for each person"
    if strangers:
        return f"got {len(strangers):,} files that are no pictures ({strangers[0]}, ...)"
    return "got no pictures"
