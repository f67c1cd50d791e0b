"""Files that are either the old one or the whole new one, never a part.

The new content goes to a temporary name beside the target, is flushed to the disk, and takes the
target's name in one step. A process killed at any moment, or a full disk, leaves the old file.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident

from marginface.errors import CheckpointWriteError


@contextmanager
def disk_told(target: Path, stays: str = "what was there before is untouched") -> Iterator[None]:
    """Tell what the disk refuses inside the block as an error about `target`.

    Args:
        target: What is being written.
        stays: What is not lost by it.

    Raises:
        CheckpointWriteError: If the disk refuses.
    """
    try:
        yield
    except OSError as cause:
        raise CheckpointWriteError(
            f"{target} could not be written ({cause.strerror or cause}); {stays}; free some space "
            "or check the rights"
        ) from cause


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well, it becomes `target` in one step.

    Args:
        target: The file to write or replace; its folder is made if absent.

    Raises:
        CheckpointWriteError: If the disk refuses; `target` is then what it was before.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{get_ident()}.part")
    try:
        with disk_told(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("r+b") as written:  # Windows syncs nothing that is open to read
                os.fsync(written.fileno())
            temporary.replace(target)
            sync_folder(target.parent)
    finally:
        # Where nothing can be written, nothing can be removed, and the first word is the cause.
        with suppress(OSError):
            temporary.unlink()


def write_atomically(target: Path, content: bytes | str) -> None:
    """Write `content` to `target` in one step; text is UTF-8.

    Raises:
        CheckpointWriteError: If the disk refuses; `target` is then what it was before.
    """
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Have the disk keep the names in a folder; without it a rename is lost when the power goes."""
    if os.name == "nt":  # opens no folders, and keeps their names by itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_running(process: int) -> bool:
    """Return whether a process of this machine lives; where that cannot be asked, it does."""
    if os.name == "nt":  # there the signal that asks would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True
