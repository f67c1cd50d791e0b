"""Where a conversion works, and how its result is proven and takes its place."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marginface.data.convert_formats import open_encoded
from marginface.data.encoded_faces import Checksum, EncodedFaces
from marginface.errors import CheckpointWriteError, DataError
from marginface.files import disk_told
from marginface.progress import track


def checksum_of(faces: EncodedFaces, *, told: str = "reading") -> str:
    """Read a whole set and return its checksum.

    Raises:
        DataError: If it does not read.
    """
    found = Checksum()
    for item in track(faces.items(), told, total=len(faces)):
        found.add(item)
    return found.hexadecimal


def check_place(source: Path, out: Path, *, may_replace: bool) -> None:
    """Raise a `DataError` if `out` is taken, or is the source."""
    if out.exists() and source.exists() and out.resolve() == source.resolve():
        raise DataError(f"out must be another place than the source, got {out} for both")
    if not may_replace and out.exists() and (out.is_file() or any(out.iterdir())):
        raise DataError(f"{out} is there already; give another name, or replace it (--replace)")


def work_folder(out: Path) -> Path:
    """Return the hidden folder beside `out` in which it grows."""
    return out.with_name(f".{out.name}.converting")


def progress_file(out: Path) -> Path:
    """Return where a conversion says how far it has come; it is there from the first mark on."""
    return work_folder(out) / "progress.json"


@contextmanager
def keeping_marks(out: Path) -> Iterator[None]:
    """Keep the work up to the last mark when the disk refuses, and remove work without any.

    Raises:
        CheckpointWriteError: If the disk refuses.
    """
    try:
        with disk_told(out):
            yield
    except CheckpointWriteError:
        if not progress_file(out).is_file():
            shutil.rmtree(work_folder(out), ignore_errors=True)
        raise


def verify(path: Path, kind: str, expected: str, images: int) -> None:
    """Read back what was written.

    Raises:
        DataError: If it holds other pictures than were written.
    """
    made = open_encoded(path, kind=kind)
    if len(made) != images:
        raise DataError(f"{path} must hold {images:,} pictures, got {len(made):,}; names may clash")
    if (found := checksum_of(made, told="verifying")) != expected:
        raise DataError(
            f"{path} must have the checksum {expected[:12]}, got {found[:12]}; the source changed "
            "meanwhile, or the disk fails; remove the folder and convert again"
        )


def publish(work: Path, out: Path) -> None:
    """Move what was made to its place; the file that gives the set its name comes last."""
    endings = (".idx", ".lst") if out.suffix == ".rec" else ()
    names = [out.with_suffix(ending).name for ending in endings] + [out.name]
    for name in names:
        if not (work / name).exists():
            continue
        target = out.with_name(name)
        if target.is_dir():
            # A full folder cannot be replaced in one step; the old one goes only afterwards.
            shutil.rmtree(work / "replaced", ignore_errors=True)
            target.rename(work / "replaced")
        (work / name).replace(target)
    shutil.rmtree(work)
