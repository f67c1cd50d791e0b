"""The files of a run's folder: what is there, what it says, and whether it may be gone on from."""

import csv
import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from marginface.axes import Tensor
from marginface.data import CorruptedFaces, FaceSet
from marginface.data.corruption import COLUMNS
from marginface.errors import CheckpointMismatchError, CheckpointWriteError
from marginface.files import write_atomically
from marginface.training.checkpoint import (
    RANDOM,
    State,
    all_checkpoints,
    copy_tensors,
    read_state,
    read_tensors,
    remove,
)
from marginface.training.config import TrainConfig
from marginface.training.describe import versions
from marginface.training.processes import ALONE, Processes
from marginface.training.same_run import check_same_run
from marginface.training.seeds import derive_seed

MODEL = "model.safetensors"
RECONSTRUCTION = "reconstruction.safetensors"
RESULT = "result.json"
CONFIG = "config.json"
CORRUPTION = "corruption.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run ended with.

    Args:
        model_path: The model file.
        steps: Optimiser steps taken.
        seconds: Time spent training, over all sittings.
        images_per_s: Pictures learnt from in one of them.
        is_complete: Whether all steps were taken; a time limit may come first.
        final_loss: Mean of the last log record; absent if the run ended before the first.
    """

    model_path: Path
    steps: int
    seconds: float
    images_per_s: float
    is_complete: bool
    final_loss: float | None


def prepare(run_dir: Path, *, removes_run: bool) -> None:
    """Make the folder; remove what a kill left half-written and, if wanted, the whole old run.

    Raises:
        CheckpointWriteError: If it cannot be made, or what is in it not be removed.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        for part in run_dir.glob(".*.part"):
            remove(part)
        if removes_run:
            _remove_run(run_dir)
    except OSError as cause:
        raise CheckpointWriteError(
            f"{run_dir} must be a folder that can be written to, got {cause.strerror or cause}"
        ) from cause


def _remove_run(run_dir: Path) -> None:
    # A kill in between leaves the old run to be gone on from, or none: never one that says it has
    # ended and has no checkpoint.
    (run_dir / RESULT).unlink(missing_ok=True)
    for checkpoint in all_checkpoints(run_dir):
        remove(checkpoint)
    for name in (MODEL, RECONSTRUCTION, CONFIG, CORRUPTION, "log.jsonl"):
        (run_dir / name).unlink(missing_ok=True)
    shutil.rmtree(run_dir / "tensorboard", ignore_errors=True)


def write_config(
    run_dir: Path, config: TrainConfig, pack: FaceSet, processes: Processes = ALONE
) -> None:
    """Write the config and the versions it ran under; of a spoilt set also what was done to it."""
    content: dict[str, Any] = {
        "config": config.to_dict(),
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "processes": processes.size,
    }
    if isinstance(pack, CorruptedFaces):
        content["corruption"] = pack.counts()
        write_atomically(run_dir / CORRUPTION, _as_csv([COLUMNS, *pack.rows()]))
    write_atomically(run_dir / CONFIG, json.dumps(content, indent=1) + "\n")


def _as_csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def read_config(run_dir: Path) -> TrainConfig:
    """Return the config of the run in a folder.

    Raises:
        CheckpointMismatchError: If there is no run.
        ValueError: If the config does not fit this version.
    """
    if not (run_dir / CONFIG).is_file():
        runs = sorted(path.parent for path in run_dir.glob(f"runs/*/*/{CONFIG}"))
        hint = f"; of a comparison give one run, {runs[0]} say" if runs else ""
        raise CheckpointMismatchError(f"{run_dir} must be a run's folder, with {CONFIG}{hint}")
    return TrainConfig.from_dict(json.loads((run_dir / CONFIG).read_text())["config"])


def write_result(run_dir: Path, result: TrainResult, identity: dict[str, Any]) -> None:
    """Write what the run ended with; from then on it is finished."""
    content = {
        "steps": result.steps,
        "seconds": result.seconds,
        "images_per_s": result.images_per_s,
        "is_complete": result.is_complete,
        "final_loss": result.final_loss,
        "identity": identity,
    }
    write_atomically(run_dir / RESULT, json.dumps(content, indent=1) + "\n")


def finished_result(run_dir: Path, identity: dict[str, Any]) -> TrainResult | None:
    """Return the result of a complete run with the same identity, or nothing.

    Raises:
        CheckpointMismatchError: If the folder holds a complete run with another identity, or what
            it tells of its end cannot be read.
    """
    path = run_dir / RESULT
    if not path.is_file() or not (run_dir / MODEL).is_file():
        return None
    try:
        content = json.loads(path.read_text())
        found = content.pop("identity")
        result = TrainResult(model_path=run_dir / MODEL, **content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise CheckpointMismatchError(
            f"{path} must be the result of a run, got what cannot be read ({cause}); remove it to "
            "go on from the last checkpoint"
        ) from cause
    check_same_run(path, found, identity)
    return result if result.is_complete else None


def load_checkpoint(
    run_dir: Path,
    identity: dict[str, Any],
    live: dict[str, Tensor],
    split: dict[str, int] | None = None,
    *,
    seed: int,
    device: str,
    processes: Processes = ALONE,
) -> State | None:
    """Copy the folder's newest checkpoint into the run, random state included.

    A process that the run had not when it was saved draws from a stream of its own, which follows
    from the seed, the step and its rank.

    Args:
        run_dir: The run's folder.
        identity: What the checkpoint must be of.
        live: The run's tensors, as far as this process holds them.
        split: All rows of the tensors each process holds some rows of, by name.
        seed: Of the run.
        device: Where the run is.
        processes: Those of the run; their number may be another than when it was saved.

    Returns:
        What the checkpoint tells of itself, or nothing if there is none.

    Raises:
        CheckpointMismatchError: If it is broken or of another run.
    """
    if not (found := all_checkpoints(run_dir)):
        return None
    state = read_state(found[-1])
    check_same_run(state.path, state.identity, identity)
    copy_tensors(state.path, live, split, processes)
    if processes.rank >= state.processes:
        torch.manual_seed(derive_seed(seed, f"training/{processes.rank}/{state.step}"))
        return state
    drawn = read_tensors(state.path, RANDOM)
    torch.set_rng_state(drawn[f"{RANDOM}cpu/{processes.rank}"])
    if (on_gpu := drawn.get(f"{RANDOM}cuda/{processes.rank}")) is not None and _is_gpu(device):
        torch.cuda.set_rng_state(on_gpu, device)
    return state


def random_state(device: str, processes: Processes = ALONE) -> dict[str, Tensor]:
    """Return the state of this process's random generators, as bytes."""
    states = {f"{RANDOM}cpu/{processes.rank}": torch.get_rng_state()}
    if _is_gpu(device):
        states[f"{RANDOM}cuda/{processes.rank}"] = torch.cuda.get_rng_state(device)
    return states


def _is_gpu(device: str) -> bool:
    return torch.device(device).type == "cuda"
