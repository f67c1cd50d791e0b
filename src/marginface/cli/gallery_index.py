"""In which index a gallery is searched: what the commands of galleries share."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from marginface.errors import IndexMismatchError
from marginface.recognition import Gallery
from marginface.search import FaissIndex, Index, QdrantIndex

Kind = Literal["exact", "faiss", "qdrant"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Place:
    """Where templates are searched."""

    index: Annotated[
        Kind,
        Parameter(
            help="exact: every template. faiss: codes, for 100,000 people and more; kept beside "
            "the gallery as FILE.faiss. qdrant: a server of yours."
        ),
    ] = "exact"
    url: Annotated[
        str | None,
        Parameter(help="Of the Qdrant server: http://127.0.0.1:6333, or https elsewhere."),
    ] = None
    collection: Annotated[
        str | None, Parameter(help="On the server; the gallery's file name if not given.")
    ] = None
    key_file: Annotated[
        Path | None,
        Parameter(help="A file with the server's key, in place of the variable QDRANT_API_KEY."),
    ] = None

    def check(self) -> None:
        """Raise if a server is described and another index named."""
        if self.index != "qdrant" and (self.url or self.collection or self.key_file):
            raise ValueError(
                f"url, collection and key_file are for --index qdrant, got --index {self.index}"
            )

    def kept(self, gallery: Path, held: Gallery) -> Index | None:
        """Return the index that was kept of a gallery; None where it is searched exactly.

        Raises:
            DataError: If the file of codes is broken.
            IndexMismatchError: If the server holds nobody yet.
            MissingExtraError: If its package is not installed.
            ServerError: If the server does not answer.
        """
        index = self.empty_or_kept(gallery, held.dim)
        if isinstance(index, QdrantIndex) and len(held) and not len(index):
            raise IndexMismatchError(
                f"collection {index.collection!r} holds nobody; fill it with `marginface gallery "
                f"index {gallery} --index qdrant --url {self.url}`"
            )
        return index

    def empty_or_kept(self, gallery: Path, dim: int) -> Index | None:
        """Return the kept index or, where there is none, an empty one; None for exact search."""
        self.check()
        if self.index == "exact":
            return None
        if self.index == "faiss":
            path = codes_beside(gallery)
            return FaissIndex.load(path) if path.exists() else FaissIndex(dim)
        if self.url is None:
            raise ValueError("--index qdrant needs --url, such as http://127.0.0.1:6333, got none")
        # The names the server takes.
        name = self.collection or re.sub(r"[^A-Za-z0-9._-]", "-", gallery.name)
        return QdrantIndex(dim, url=self.url, collection=name, key_file=self.key_file)


def codes_beside(gallery: Path) -> Path:
    """Return the file in which `marginface gallery index` keeps the codes of a gallery."""
    return gallery.with_name(f"{gallery.name}.faiss")
