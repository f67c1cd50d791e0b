"""The table of formats: how each is recognised, opened and written."""

from collections.abc import Callable
from pathlib import Path

from marginface.data.bin_pack import read_bin
from marginface.data.convert_pack import PackSink, open_identity_folder, open_pack
from marginface.data.convert_sinks import FolderSink, RecSink, Sink
from marginface.data.corruption import CorruptedFaces
from marginface.data.encoded_faces import EncodedFaces
from marginface.data.pack_format import is_pack
from marginface.data.packs import PackedFaces
from marginface.data.parquet import ParquetSink, open_parquet
from marginface.data.rec_pack import open_rec
from marginface.data.sources import FolderFaces, open_folder
from marginface.data.webdataset import WebDatasetSink, open_webdataset
from marginface.errors import DataError, unknown_name

# What a network trains on; all read alike. A union and no protocol, since asking an object whether
# it follows one looks at its attributes, and the fingerprint of encoded faces reads the whole file.
StoredFaces = PackedFaces | EncodedFaces
FaceSet = StoredFaces | CorruptedFaces
FORMATS: dict[str, Callable[[Path], EncodedFaces]] = {
    "folder": open_identity_folder,
    "pack": open_pack,
    "rec": open_rec,
    "bin": lambda path: read_bin(path).faces(),
    "webdataset": open_webdataset,
    "parquet": open_parquet,
}
SINKS: dict[str, type[Sink]] = {
    "folder": FolderSink,
    "pack": PackSink,
    "rec": RecSink,
    "webdataset": WebDatasetSink,
    "parquet": ParquetSink,
}
SUFFIXES = {
    ".rec": "rec",
    ".bin": "bin",
    ".tar": "webdataset",
    ".parquet": "parquet",
    ".pack": "pack",
}


def open_encoded(path: str | Path, *, kind: str | None = None) -> EncodedFaces:
    """Open a set of any format as stored pictures.

    Args:
        path: A file or a folder.
        kind: A key of `FORMATS`; found by suffix and content by default.

    Raises:
        ValueError: If `kind` is unknown.
        DataError: If the set is absent, of no known format, or broken.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    path = Path(path)
    return FORMATS[kind_of_source(path) if kind is None else checked_kind(kind)](path)


def open_faces(path: str | Path) -> StoredFaces:
    """Open a set to be read or trained on: a pack as a pack, any other format as it is.

    Raises:
        DataError: If the set is absent, of no known format, or broken.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    return PackedFaces.open(path) if is_pack(path) else open_encoded(path)


def open_images(path: str | Path) -> StoredFaces | FolderFaces:
    """Open a set of any format to look at its pictures, which a folder may hold in any size.

    Raises:
        DataError: If the set is absent, of no known format, empty or broken.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    path = Path(path)
    is_set = path.suffix in SUFFIXES if path.is_file() else kind_of_folder(path) != "folder"
    return open_faces(path) if is_set else open_folder(path)


def kind_of_source(path: Path) -> str:
    """Say which format lies at `path`.

    Raises:
        DataError: If nothing is there, or it is a file with another ending.
    """
    if path.is_dir():
        return kind_of_folder(path)
    if not path.exists():
        raise DataError(f"{path} must be a set of faces, got nothing there")
    if path.suffix not in SUFFIXES or path.suffix == ".pack":
        endings = ", ".join(ending for ending in SUFFIXES if ending != ".pack")
        raise DataError(f"{path} must be a folder or end in one of {endings}")
    return SUFFIXES[path.suffix]


def kind_of_folder(path: Path) -> str:
    """Say which format a folder holds: one of people, unless something speaks for another."""
    if is_pack(path):
        return "pack"
    for ending, kind in ((".tar", "webdataset"), (".parquet", "parquet")):
        if any(path.glob(f"*{ending}")):
            return kind
    return "folder"


def kind_of_target(path: Path) -> str:
    """Say which format a name asks for: its suffix, or a folder without one.

    Raises:
        ValueError: If the suffix is another.

    Example:
        >>> kind_of_target(Path("faces.rec")), kind_of_target(Path("faces"))
        ('rec', 'folder')
    """
    if not path.suffix:
        return "folder"
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"out must end in one of {', '.join(SUFFIXES)} or in none for a folder, got "
            f"{path.name!r}; or say the format (--to, kind=)"
        )
    return SUFFIXES[path.suffix]


def checked_kind(kind: str) -> str:
    """Return `kind` if it is in the table.

    Raises:
        ValueError: If it is not, with the nearest name.
    """
    if kind not in FORMATS:
        raise unknown_name("kind", kind, FORMATS)
    return kind
