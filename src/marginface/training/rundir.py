"""The files of a run's folder: what is there, what it says, and whether it may be gone on from."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from marginface.axes import Tensor
from marginface.errors import CheckpointWriteError
from marginface.files import write_atomically
from marginface.training.build import versions
from marginface.training.checkpoint import check_same_run, copy_tensors, read_checkpoint
from marginface.training.config import TrainConfig

CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"
RECONSTRUCTION = "reconstruction.safetensors"
RESULT = "result.json"
CONFIG = "config.json"


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
        CheckpointWriteError: If it cannot be made.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise CheckpointWriteError(
            f"{run_dir} must be a folder that can be written to, got {cause.strerror or cause}"
        ) from cause
    for part in run_dir.glob(".*.part"):
        part.unlink(missing_ok=True)
    if removes_run:
        # The checkpoint goes first: a kill in between must not leave it to be gone on from.
        for name in (CHECKPOINT, RESULT, MODEL, RECONSTRUCTION, CONFIG, "log.jsonl"):
            (run_dir / name).unlink(missing_ok=True)
        shutil.rmtree(run_dir / "tensorboard", ignore_errors=True)


def write_config(run_dir: Path, config: TrainConfig) -> None:
    """Write the config, and the versions it ran under, beside the checkpoint."""
    content = {
        "config": config.to_dict(),
        "versions": versions(),
        "threads": torch.get_num_threads(),
    }
    write_atomically(run_dir / CONFIG, json.dumps(content, indent=1) + "\n")


def read_config(run_dir: Path) -> TrainConfig:
    """Return the config of the run in a folder.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If the config does not fit this version.
    """
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
        CheckpointMismatchError: If the folder holds a complete run with another identity.
    """
    path = run_dir / RESULT
    if not path.is_file() or not (run_dir / MODEL).is_file():
        return None
    content = json.loads(path.read_text())
    check_same_run(path, content.pop("identity"), identity)
    result = TrainResult(model_path=run_dir / MODEL, **content)
    return result if result.is_complete else None


def load_checkpoint(
    run_dir: Path, identity: dict[str, Any], live: dict[str, Tensor], *, device: str
) -> tuple[int, dict[str, Any]] | None:
    """Copy the folder's checkpoint into the run, random state included.

    Args:
        run_dir: The run's folder.
        identity: What the checkpoint must be of.
        live: The run's tensors.
        device: Where the run is.

    Returns:
        The step and the progress to go on from, or nothing if there is no checkpoint.

    Raises:
        CheckpointMismatchError: If it is broken or of another run.
    """
    path = run_dir / CHECKPOINT
    if not path.exists():
        return None
    checkpoint = read_checkpoint(path)
    check_same_run(path, checkpoint.identity, identity)
    states = random_state(device)
    # The length of a generator's state is a matter of the torch version; it is not compared.
    drawn = {name: checkpoint.tensors.pop(name) for name in states if name in checkpoint.tensors}
    copy_tensors(path, checkpoint.tensors, live)
    torch.set_rng_state(drawn["random/cpu"])
    if "random/cuda" in drawn:
        torch.cuda.set_rng_state(drawn["random/cuda"], device)
    return checkpoint.step, checkpoint.progress


def random_state(device: str) -> dict[str, Tensor]:
    """Return the state of torch's random generators, as bytes."""
    states = {"random/cpu": torch.get_rng_state()}
    if torch.device(device).type == "cuda":
        states["random/cuda"] = torch.cuda.get_rng_state(device)
    return states
