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

from marginface.files import disk_told, write_atomically

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

STAYS = "the last checkpoint is untouched"


class RunLog:
    """Append records to `log.jsonl`, and their numbers to TensorBoard.

    Args:
        run_dir: The run's folder.
        step: The step the run goes on from; what was logged past it is dropped.
        keeps_tensorboard: Whether TensorBoard events are written.

    Raises:
        CheckpointWriteError: If the disk refuses.
    """

    def __init__(self, run_dir: Path, *, step: int, keeps_tensorboard: bool) -> None:
        path = run_dir / "log.jsonl"
        self._path = path
        with disk_told(path, STAYS):
            kept = [json.dumps(record) for record in read_log(path) if record["step"] <= step]
            write_atomically(path, "".join(f"{line}\n" for line in kept))
        self._events = _open_events(run_dir, step) if keeps_tensorboard else None
        # Unbuffered: a record is on the disk or its failure is seen, here and not on closing.
        with disk_told(path, STAYS):
            self._file = path.open("ab", buffering=0)

    def write(self, record: dict[str, Any], *, group: str) -> None:
        """Append one record, which holds at least `step`.

        Args:
            record: Plain numbers by name.
            group: Heading of the numbers in TensorBoard.

        Raises:
            CheckpointWriteError: If the disk refuses.
        """
        line = (json.dumps(record) + "\n").encode()
        with disk_told(self._path, STAYS):
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._write_events(record, group)

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

    folder = run_dir / "tensorboard"
    with disk_told(folder, STAYS):
        return SummaryWriter(str(folder), purge_step=step + 1)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the records of a log, up to a line that is none: a kill may cut off the last one."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break
        if not (isinstance(record, dict) and isinstance(record.get("step"), int)):
            break
        records.append(record)
    return records
