"""What a run tells while it goes on: a JSON-lines log, and TensorBoard events beside it.

Both survive a kill: on resuming, records past the checkpoint and a half-written last line go, and
the steps that are done again are written again.
"""

import errno
import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from marginface.errors import CheckpointWriteError
from marginface.files import write_atomically

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Append records to `log.jsonl`, and their numbers to TensorBoard.

    Args:
        run_dir: The run's folder.
        step: The step the run goes on from; what was logged past it is dropped.
        keeps_tensorboard: Whether TensorBoard events are written.
    """

    def __init__(self, run_dir: Path, *, step: int, keeps_tensorboard: bool) -> None:
        path = run_dir / "log.jsonl"
        kept = [json.dumps(record) for record in read_log(path) if record["step"] <= step]
        write_atomically(path, "".join(f"{line}\n" for line in kept))
        self._path = path
        # Unbuffered: a record is on the disk or its failure is seen, here and not on closing.
        self._file = path.open("ab", buffering=0)
        self._events = _open_events(run_dir, step) if keeps_tensorboard else None

    def write(self, record: dict[str, Any], *, group: str) -> None:
        """Append one record, which holds at least `step`.

        Args:
            record: Plain numbers by name.
            group: Heading of the numbers in TensorBoard.

        Raises:
            CheckpointWriteError: If the disk refuses.
        """
        line = (json.dumps(record) + "\n").encode()
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._write_events(record, group)
        except OSError as cause:
            raise CheckpointWriteError(
                f"{self._path} could not be written ({cause.strerror or cause}); the last "
                "checkpoint is untouched; free some space or check the rights"
            ) from cause

    def _write_events(self, record: dict[str, Any], group: str) -> None:
        if self._events is not None:
            for name, value in record.items():
                if isinstance(value, int | float) and name != "step":
                    self._events.add_scalar(f"{group}/{name}", value, record["step"])
            self._events.flush()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if self._events is not None:
            # What could not be written has been reported by `write`.
            with suppress(OSError):
                self._events.close()


def _open_events(run_dir: Path, step: int) -> "SummaryWriter":
    # Late: it takes half a second to import.
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run_dir / "tensorboard"), purge_step=step + 1)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the records of a log; a last line cut off by a kill is left out."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break
        records.append(record)
    return records
