"""The processes of one run: which one this is, how many there are, and what they agree on.

A run on one process knows nothing of process groups. With more, each process calls the same
functions in the same order; what differs between them is their part of the batch and of the class
vectors. Texts and numbers are exchanged as plain tensors, so that nothing foreign is unpickled.

Source: torch.distributed; environment and meaning of ranks are those of torchrun.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from marginface.axes import Tensor
from marginface.errors import ProcessGroupError

LET_GO_S = 0.5
NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The place of this process among those that train together.

    Args:
        rank: Number of this process, from 0; process 0 alone writes, logs and draws progress.
        size: How many there are.

    Example:
        >>> Processes().highest(0.0, 2.0)
        [0.0, 2.0]
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    @property
    def group(self) -> dist.ProcessGroup | None:
        """The process group, or nothing for a process on its own."""
        return dist.group.WORLD if self.size > 1 else None

    def __str__(self) -> str:
        return f"process {self.rank} of {self.size}"

    def wait(self) -> None:
        """Return when every process has come here."""
        self.highest(0.0)

    def highest(self, *values: float) -> list[float]:
        """Return the highest of every value over all processes."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def total(self, *values: float) -> list[float]:
        """Return the sum of every value over all processes."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def places(self, batch_size: int, parts: int) -> NDArray[np.int64]:
        """Return the places of this process's pictures in a batch: its slice of every part of it.

        Args:
            batch_size: Pictures of all processes.
            parts: Micro-batches of a batch, each of which all processes share.

        Example:
            >>> Processes(rank=1, size=3).places(8, 2)
            array([2, 6])
        """
        whole = np.arange(batch_size).reshape(parts, -1)
        return np.array_split(whole, self.size, axis=1)[self.rank].ravel()

    def _reduced(
        self, values: tuple[float, ...], operation: dist.ReduceOp.RedOpType
    ) -> list[float]:
        if self.size == 1:
            return list(values)
        found = torch.tensor(values, dtype=torch.float64, device=_messenger())
        dist.all_reduce(found, operation)
        return [float(value) for value in found.tolist()]

    def texts(self, text: str) -> list[str]:
        """Return the text of every process, in the order of their ranks."""
        if self.size == 1:
            return [text]
        mine = torch.frombuffer(bytearray(text.encode()) or bytearray(1), dtype=torch.uint8)
        lengths = [int(length) for length in self._gathered(torch.tensor([len(text.encode())]))]
        padded = torch.zeros(max(1, *lengths), dtype=torch.uint8)
        padded[: lengths[self.rank]] = mine[: lengths[self.rank]]
        rows = self._gathered(padded)
        return [
            bytes(row[:length].tolist()).decode() for row, length in zip(rows, lengths, strict=True)
        ]

    def _gathered(self, mine: Tensor) -> list[Tensor]:
        mine = mine.to(_messenger())
        found = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(found, mine)
        return [row.cpu() for row in found]


ALONE = Processes()


@contextmanager
def joined_processes(device: str, *, timeout_s: float) -> Iterator[Processes]:
    """Join the process group that this process was started for, and leave it after the block.

    A group that exists already is used and left as it is. Where nothing was started for more than
    one process, as `WORLD_SIZE` tells, no group is made.

    Args:
        device: Where training is to run; a GPU talks over NCCL, all else over gloo.
        timeout_s: How long a process waits for another one.

    Raises:
        ValueError: If the environment tells of several processes, but not how they meet, or in
            numbers that cannot be.
        ProcessGroupError: If another process was lost, or could not be waited for any longer.
    """
    if dist.is_available() and dist.is_initialized():
        processes = Processes(rank=dist.get_rank(), size=dist.get_world_size())
        with _told_of_lost_processes(processes, timeout_s=timeout_s):
            yield processes
        return
    size = _told("WORLD_SIZE", at_least=1) if "WORLD_SIZE" in os.environ else 1
    if size == 1:
        yield Processes()
        return
    if missing := [name for name in NEEDED if name not in os.environ]:
        raise ValueError(
            f"{', '.join(missing)} must be set where WORLD_SIZE is {size}; start with "
            "`marginface train ... --nproc N` or with torchrun"
        )
    processes = Processes(rank=_told("RANK", at_least=0, below=size), size=size)
    _told("MASTER_PORT", at_least=0, below=1 << 16)
    # Numbers and texts travel over gloo on a GPU too, without waiting for what it has to do.
    backend = "cpu:gloo,cuda:nccl" if torch.device(device).type == "cuda" else "gloo"
    with _told_of_lost_processes(processes, timeout_s=timeout_s):
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    try:
        with _told_of_lost_processes(processes, timeout_s=timeout_s):
            yield processes
    finally:
        dist.destroy_process_group()


def _told(name: str, *, at_least: int, below: int | None = None) -> int:
    """Return a number that the environment tells.

    Raises:
        ValueError: If it is none, or out of range.
    """
    text = os.environ[name]
    number = int(text) if text.isdecimal() else -1
    if at_least <= number and (below is None or number < below):
        return number
    highest = "" if below is None else f" and below {below}"
    raise ValueError(
        f"{name} in the environment must be a whole number, {at_least} or more{highest}, got "
        f"{text!r}; start with `marginface train ... --nproc N` or with torchrun"
    )


@contextmanager
def _told_of_lost_processes(processes: Processes, *, timeout_s: float) -> Iterator[None]:
    """Turn what torch says of a lost or silent process into a message that says what to do.

    Raises:
        ProcessGroupError: If a process was lost, or could not be waited for any longer.
    """
    try:
        yield
    except RuntimeError as cause:
        # The group's own thread needs the interpreter to let go of what it was sending. A group
        # freed before that waits for the thread, with the interpreter in hand, for ever.
        time.sleep(LET_GO_S)
        text = " ".join(str(cause).split())
        if _is_any_in(text, ("Timed out", "timed out", "Timeout", "timeout")):
            raise ProcessGroupError(
                f"{processes} waited {timeout_s:g} s for another one and gave up; the last "
                "checkpoint is untouched; look at what the others told last, and raise timeout_s "
                f"if they only were slow ({_in_short(text)})"
            ) from cause
        if _is_any_in(text, ("gloo", "NCCL", "Connection", "Broken pipe")):
            raise ProcessGroupError(
                f"{processes} lost another one; the last checkpoint is untouched; look at what "
                f"the others told last ({_in_short(text)})"
            ) from cause
        raise


def local_device(device: str) -> str:
    """Return the device of this process: of several GPUs each process of a machine has its own."""
    if device != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return f"cuda:{os.environ['LOCAL_RANK']}"


def _messenger() -> torch.device:
    """Return where a tensor must be for the group to carry it."""
    if "gloo" in dist.get_backend_config():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def _in_short(text: str) -> str:
    """Return the first sentence of what torch says, without the place in its source."""
    return re.sub(r"^\[[^]]*\] *", "", text).split(". ")[0]


def _is_any_in(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text for word in words)
