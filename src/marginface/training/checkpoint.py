"""The checkpoint: a folder with all a run needs to go on as if it had never stopped.

    checkpoint-000120/
        shard-00001.safetensors   the tensors of process 0; reading one can execute nothing
        shard-00002.safetensors   the class vectors of process 1, and so on
        state.json                step, settings, progress, and the length of every file above

Each process writes its own part of what is split, so nobody ever holds all class vectors; what all
hold alike is written once. The folder takes its name in a single step when everything is on the
disk, and only then do older ones go: a kill or a full disk at any moment leaves the last whole one.
A run on any number of processes can read it.

Source: torch.distributed.checkpoint, with safetensors files in the place of its own.
"""

import json
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from marginface.axes import Tensor
from marginface.errors import CheckpointMismatchError, CheckpointWriteError, NonFiniteLossError
from marginface.files import sync_folder, write_atomically
from marginface.training import shards
from marginface.training.processes import ALONE, Processes
from marginface.training.shards import BrokenFileError, Kind

KIND, FORMAT = "checkpoint", 2
STATE, SUFFIX = "state.json", ".safetensors"
RANDOM = "random/"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a run between two optimiser steps, as one process sees it.

    Args:
        step: Optimiser steps taken; also the position in the data, one batch a step.
        tensors: Weights, statistics, momentum, averages and random state by name.
        identity: The settings that decide the numbers, by dotted name.
        progress: Training seconds so far, and the sums of the log record under way.
        contract: What a model file made of it promises.
        split: Of which tensors each process holds some rows only: all their rows, by name.
    """

    step: int
    tensors: dict[str, Tensor]
    identity: dict[str, Any]
    progress: dict[str, Any]
    contract: dict[str, str] = field(default_factory=dict)
    split: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class State:
    """What `state.json` tells of a checkpoint, proven to be whole.

    Args:
        path: The folder.
        step: As in `Checkpoint`; so are the others.
        identity: The settings.
        progress: What the log goes on from.
        contract: Of a model file.
        processes: How many wrote it.
    """

    path: Path
    step: int
    identity: dict[str, Any]
    progress: dict[str, Any]
    contract: dict[str, str]
    processes: int


def checkpoint_path(run_dir: Path, step: int) -> Path:
    """Return where the checkpoint of a step stands."""
    return run_dir / f"checkpoint-{step:06d}"


def all_checkpoints(run_dir: Path) -> list[Path]:
    """Return the checkpoints of a run; the last one is the newest."""
    found = [
        (int(match[1]), path)
        for path in run_dir.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name))
    ]
    return [path for _, path in sorted(found)]


def write_checkpoint(run_dir: Path, checkpoint: Checkpoint, processes: Processes = ALONE) -> None:
    """Write a checkpoint into a run's folder, in one step, and remove the older ones.

    Every process calls it with its own part.

    Raises:
        NonFiniteLossError: If a tensor holds NaN or infinity; the last good one stays.
        CheckpointWriteError: If the disk refuses; the last good one stays.
    """
    _refuse_nonfinite(checkpoint, processes)
    target = checkpoint_path(run_dir, checkpoint.step)
    part = target.with_name(f".{target.name}.part")
    try:
        if processes.is_first:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        processes.wait()
        shards.write(part, checkpoint.tensors, checkpoint.split, processes)
        if processes.is_first:
            write_atomically(part / STATE, json.dumps(_told(checkpoint, part, processes)))
            part.rename(target)
            sync_folder(run_dir)
            remove_others(target)
        processes.wait()
    except (OSError, CheckpointWriteError) as cause:
        reason = getattr(cause, "strerror", None) or cause.__cause__ or cause
        raise CheckpointWriteError(
            f"{target} could not be written ({getattr(reason, 'strerror', None) or reason}); what "
            "was there before is untouched; free some space or check the rights"
        ) from cause
    finally:
        if processes.is_first:
            shutil.rmtree(part, ignore_errors=True)


def read_state(path: Path) -> State:
    """Read what a checkpoint is of, and see that its files are whole and no others are among them.

    Raises:
        CheckpointMismatchError: If a file is absent, cut short or from elsewhere, or it is no
            checkpoint of this format.
    """
    try:
        content = json.loads((path / STATE).read_text())
    except (OSError, ValueError) as cause:
        raise _broken(path, f"{STATE} that cannot be read ({cause})") from cause
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind != KIND:
        raise CheckpointMismatchError(
            f"{path} must be a checkpoint of marginface, got {kind or 'a foreign file'}; "
            "remove it to start anew"
        )
    if content.get("format") != FORMAT:
        raise CheckpointMismatchError(
            f"{path} must have checkpoint format {FORMAT}, got {content.get('format')}; go on with "
            "the version of marginface that wrote it"
        )
    names = ("step", "identity", "progress", "contract", "processes")
    if absent := [name for name in ("files", *names) if name not in content]:
        raise _broken(path, f"{STATE} without {absent[0]!r}")
    _check_files(path, content["files"])
    return State(path=path, **{name: content[name] for name in names})


def copy_tensors(
    path: Path,
    live: dict[str, Tensor],
    split: dict[str, int] | None = None,
    processes: Processes = ALONE,
) -> None:
    """Copy a checkpoint's tensors into the run's, in place; each process takes its own rows.

    Random states are left out: they belong to processes and not to the run.

    Args:
        path: The checkpoint.
        live: The tensors of the run, by the same names.
        split: As in `Checkpoint`.
        processes: Those of the run, in any number.

    Raises:
        CheckpointMismatchError: If a name, shape or type differs, and nothing is copied then; or if
            a file is broken.
    """
    split = split or {}
    found = {name: kind for name, kind in _described(path).items() if name[:7] != RANDOM}
    wanted = {
        name: ((split.get(name, item.shape[0]), *item.shape[1:]) if item.ndim else (), item.dtype)
        for name, item in live.items()
    }
    for name in sorted(found.keys() | wanted.keys()):
        there, here = _shown(found.get(name)), _shown(wanted.get(name))
        if there != here:
            raise CheckpointMismatchError(
                f"{path} must fit this network, got {name} {there} there and {here} here; "
                "use another run folder, or start anew without resuming"
            )
    _read_into(path, live, split, processes)


def read_tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Return the whole tensors of a checkpoint whose names begin with `prefix`.

    Raises:
        CheckpointMismatchError: If a file is broken.
    """
    found = {
        name: torch.empty(shape, dtype=dtype)
        for name, (shape, dtype) in _described(path).items()
        if name.startswith(prefix)
    }
    _read_into(path, found, {}, ALONE)
    return found


def remove(path: Path) -> None:
    """Remove a checkpoint, or what is left of one, never to be seen half removed; or a file."""
    if path.is_dir():
        gone = path if path.name.startswith(".") else path.with_name(f".{path.name}.part")
        with suppress(OSError):
            path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_others(path: Path) -> None:
    """Remove all checkpoints of a run but this one."""
    for other in all_checkpoints(path.parent):
        if other != path:
            remove(other)


def _check_files(path: Path, files: dict[str, int]) -> None:
    for name, length in files.items():
        file = path / name
        found = file.stat().st_size if file.is_file() else None
        if found != length:
            told = "absent" if found is None else f"of {found:,} bytes"
            raise _broken(path, f"{name} {told} where {length:,} bytes were written")
    # A reader looks into every file of tensors, and takes rows from whichever has them last.
    if strays := sorted({file.name for file in path.glob(f"*{SUFFIX}")} - files.keys()):
        raise CheckpointMismatchError(
            f"{path} must hold the files it was written with, got {strays[0]} besides; take it away"
        )


def _read_into(
    path: Path, live: dict[str, Tensor], split: dict[str, int], processes: Processes
) -> None:
    try:
        shards.read_into(path, live, split, processes)
    except BrokenFileError as cause:
        raise _broken(path, f"a broken file ({cause})") from cause


def _described(path: Path) -> dict[str, Kind]:
    try:
        return shards.kinds(path)
    except BrokenFileError as cause:
        raise _broken(path, f"a broken file ({cause})") from cause


def _broken(path: Path, got: str) -> CheckpointMismatchError:
    return CheckpointMismatchError(
        f"{path} must be a whole checkpoint, got {got}; remove it to start anew"
    )


def _refuse_nonfinite(checkpoint: Checkpoint, processes: Processes) -> None:
    broken = (
        name
        for name, tensor in checkpoint.tensors.items()
        if tensor.is_floating_point() and not _is_finite(tensor)
    )
    # All processes hear of it, so that none of them waits for one that stopped.
    if name := next(filter(None, processes.texts(next(broken, ""))), None):
        raise NonFiniteLossError(
            f"{name} holds NaN or infinite values after step {checkpoint.step}, no checkpoint "
            "was saved over the last good one; lower optimizer.lr or lengthen the warm-up"
        )


def _is_finite(tensor: Tensor) -> bool:
    """Look without another tensor of its size, as `isfinite` would make one."""
    return tensor.numel() == 0 or all(bool(torch.isfinite(end)) for end in tensor.aminmax())


def _told(checkpoint: Checkpoint, part: Path, processes: Processes) -> dict[str, Any]:
    return {
        "kind": KIND,
        "format": FORMAT,
        "step": checkpoint.step,
        "processes": processes.size,
        "identity": checkpoint.identity,
        "progress": checkpoint.progress,
        "contract": checkpoint.contract,
        "files": {path.name: path.stat().st_size for path in sorted(part.glob(f"*{SUFFIX}"))},
    }


def _shown(kind: Kind | None) -> str:
    if kind is None:
        return "absent"
    return f"{tuple(kind[0])} {str(kind[1]).removeprefix('torch.')}"
