"""One run at a time in a folder: a second one would throw away the first one's log and files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marginface.errors import CheckpointWriteError
from marginface.training.processes import Processes


@contextmanager
def sole_run(run_dir: Path, processes: Processes) -> Iterator[None]:
    """Keep other runs out of a folder while the block lasts; process 0 does it for all of its run.

    However the process ends, its hold ends with it, and no file stays behind. Nobody is kept out
    where the file system cannot lock a folder, as some shared ones cannot.

    Args:
        run_dir: The folder, made if absent.
        processes: Those of the run.

    Raises:
        CheckpointWriteError: If another run is at work there.
    """
    handle = _held(run_dir) if processes.is_first else None
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _held(run_dir: Path) -> int | None:
    try:
        import fcntl
    except ImportError:
        return None  # Windows locks no folders
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(run_dir, os.O_RDONLY)
    except OSError:
        return None  # what is wrong with the folder is told when it is prepared
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as cause:
        os.close(handle)
        raise CheckpointWriteError(
            f"{run_dir} must have one run at a time, got another that is still at work there; wait "
            "for its end, or use another run folder"
        ) from cause
    except OSError:
        pass  # no locks here
    return handle
