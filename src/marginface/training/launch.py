"""Several processes of this machine for one run: started, watched, and their end told in one line.

They meet over the loopback address and are told their places as torchrun tells them, so that a run
begun here goes on under torchrun on many machines, and the other way round.

Differs: torch's own launcher waits half a minute before it ends the rest, counts the time of a
failure in whole seconds, so that the first one cannot be told from those it caused, and its
processes outlive it when it is killed.
"""

import builtins
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from marginface import errors
from marginface.errors import ProcessGroupError
from marginface.training.checkpoint import all_checkpoints
from marginface.training.config import TrainConfig
from marginface.training.interrupts import TrainingInterrupted, listen_for_stop
from marginface.training.machine import cores
from marginface.training.rundir import TrainResult

HOST = "127.0.0.1"
LOOK_S, REPEAT_S = 0.05, 0.2
INTERRUPTED = 130
# What the others get to find out by themselves, and to tell, before they are ended.
GRACE_S = 5.0


def launch(
    config: TrainConfig,
    run_dir: Path,
    *,
    processes: int,
    resume: bool = True,
    is_quiet: bool = False,
    is_debug: bool = False,
) -> TrainResult:
    """Train as `train` does, on several processes of this machine.

    When one process ends badly, the others are ended within seconds. Each process computes with
    its share of the cores, unless OMP_NUM_THREADS says otherwise.

    Args:
        config: The run; its batch is shared by the processes.
        run_dir: Its folder.
        processes: How many; on GPUs one each.
        resume: Whether to go on from the folder's checkpoint, saved by any number of processes.
        is_quiet: Whether to draw no progress.
        is_debug: Whether the processes show their tracebacks.

    Raises:
        ProcessGroupError: If a process fails, dies or hangs; it says which one and of what. The
            last checkpoint stays.
        TrainingInterrupted: If SIGINT or SIGTERM came; a checkpoint has been saved.
        MarginfaceError: What `train` raises, if all processes do.
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    if "RANK" in os.environ:
        raise ValueError(
            f"processes must be left out where torchrun has started them, got {processes}"
        )
    told = {
        "config": config.to_dict(),
        "run_dir": str(run_dir),
        "resume": resume,
        "is_quiet": is_quiet,
        "is_debug": is_debug,
    }
    with tempfile.TemporaryDirectory(prefix="marginface-") as folder:
        task = Path(folder) / "task.json"
        task.write_text(json.dumps(told))
        with _started(task, processes) as children, listen_for_stop() as stop:
            codes = _watched(children, lambda: stop.is_made)
        ends = [_End.of(task, rank, code) for rank, code in enumerate(codes)]
    return _result(ends, run_dir)


@dataclass(frozen=True, kw_only=True)
class _End:
    """How one process ended: its exit code, negative for a signal, and what it told.

    Without a code it had to be killed when others had failed.
    """

    rank: int
    code: int | None
    told: dict[str, Any]

    @classmethod
    def of(cls, task: Path, rank: int, code: int | None) -> "_End":
        path = report_path(task, rank)
        return cls(rank=rank, code=code, told=json.loads(path.read_text()) if path.exists() else {})

    @property
    def weight(self) -> int:
        """The lower, the likelier this one is the cause and not a consequence."""
        if "kind" not in self.told:
            return 0
        return 2 if self.told["kind"] == ProcessGroupError.__name__ else 1

    def cause(self, size: int) -> str:
        who = f"process {self.rank} of {size}"
        if "kind" in self.told:
            is_known = self.told["kind"] == ProcessGroupError.__name__
            named = "" if is_known else f"{who} failed with {self.told['kind']}: "
            return f"{named}{self.told['text']}"
        if self.code is not None and self.code < 0:
            # Linux sends it to the largest process when memory runs out, and says so nowhere else.
            hint = ", as when memory runs out" if self.code == -signal.SIGKILL else ""
            return f"{who} was killed by {signal.Signals(-self.code).name}{hint}"
        return f"{who} ended with exit code {self.code} and told nothing"


@contextmanager
def _started(task: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Yield the processes; whatever happens, none is left behind."""
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    children: list[subprocess.Popen[bytes]] = []
    try:
        places = (_environment(rank, count, store.port) for rank in range(count))
        children.extend(_start(task, place) for place in places)
        yield children
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()
            if child.stdin is not None:
                child.stdin.close()


def _start(task: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "marginface.training.worker", str(task)],
        env=environment,
        # It ends with the parent, whatever ends that, and tells the process so.
        stdin=subprocess.PIPE,
        # Out of reach of the terminal's Ctrl-C, which the parent passes on in order.
        process_group=0,
    )


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    defaults = {
        "OMP_NUM_THREADS": str(max(1, cores() // count)),
        "OMP_WAIT_POLICY": "passive",
        # Sockets warn in pages of C++ frames of what the parent tells in one line.
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "GLOO_SOCKET_IFNAME": loopback,
    }
    place = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": HOST,
        "MASTER_PORT": port,
        # The store lives in the parent, so no process has to be there before the others.
        "TORCHELASTIC_USE_AGENT_STORE": True,
    }
    return defaults | dict(os.environ) | {name: str(value) for name, value in place.items()}


def _watched(
    children: list[subprocess.Popen[bytes]], is_stopped: Callable[[], bool]
) -> list[int | None]:
    """Wait for the end of all and return their exit codes; the first bad one ends the others."""
    ends_at, tells_at = float("inf"), 0.0
    while None in (codes := [child.poll() for child in children]):
        now = time.monotonic()
        if is_stopped() and now >= tells_at:
            tells_at = now + REPEAT_S
            for child in children:
                child.terminate()
        if any(code not in (None, 0, INTERRUPTED) for code in codes):
            ends_at = min(ends_at, now + GRACE_S)
        if now >= ends_at:
            break
        time.sleep(LOOK_S)
    return codes


def _result(ends: list[_End], run_dir: Path) -> TrainResult:
    """Return what the run ended with, or raise what it ended of."""
    failed = [end for end in ends if end.code not in (None, 0, INTERRUPTED)]
    if any(end.code == -signal.SIGTERM for end in failed):
        raise TrainingInterrupted(f"stopped before all processes had begun; {_goes_on(run_dir)}")
    if failed:
        raise _error(ends, min(failed, key=lambda end: (end.weight, end.rank)), run_dir)
    if stopped := [end for end in ends if end.code == INTERRUPTED]:
        raise TrainingInterrupted(stopped[0].told["text"])
    result = ends[0].told["result"]
    return TrainResult(**result | {"model_path": Path(result["model_path"])})


def _error(ends: list[_End], cause: _End, run_dir: Path) -> Exception:
    if all(end.told == cause.told and "kind" in end.told for end in ends):
        # All of them say the same: it is no matter of processes.
        name, text = cause.told["kind"], cause.told["text"]
        who = f"all {len(ends)} processes failed with {name}"
        other = ProcessGroupError(f"{who}: {text}; {_goes_on(run_dir)}")
        return _known_error(name, text) or other
    hung = [str(end.rank) for end in ends if end.code is None]
    return ProcessGroupError(f"{cause.cause(len(ends))}{_killed(hung)}; {_goes_on(run_dir)}")


def _known_error(name: str, text: str) -> Exception | None:
    kind = getattr(errors, name, None) or getattr(builtins, name, None)
    try:
        made = kind(text) if kind is not None else None
    except TypeError:
        return None  # it wants more than a text, as UnicodeDecodeError does
    return made if isinstance(made, Exception) else None


def _killed(ranks: list[str]) -> str:
    if len(ranks) > 1:
        return f"; processes {', '.join(ranks)} did not end by themselves and were killed"
    return f"; process {ranks[0]} did not end by itself and was killed" if ranks else ""


def _goes_on(run_dir: Path) -> str:
    if kept := all_checkpoints(run_dir):
        return f"the last checkpoint, {kept[-1]}, is whole; the same command goes on from it"
    return "there was no checkpoint yet; the same command begins anew"


def report_path(task: Path, rank: int) -> Path:
    """Return where a process tells how it ended."""
    return task.with_name(f"process-{rank}.json")
