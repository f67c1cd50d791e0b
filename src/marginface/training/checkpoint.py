"""The checkpoint: one file with all a run needs to go on as if it had never stopped.

It is a safetensors file, so reading one can execute nothing, with a JSON value in its metadata
under the key "marginface". It takes the place of the last one in a single step, so a kill or a full
disk at any moment leaves the last good one.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from marginface.axes import Tensor
from marginface.errors import CheckpointMismatchError, NonFiniteLossError
from marginface.files import write_atomically

KEY = "marginface"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a run between two optimiser steps.

    Args:
        step: Optimiser steps taken; also the position in the data, one batch a step.
        tensors: Weights, statistics, momentum, averages and random state by name.
        identity: The settings that decide the numbers, by dotted name.
        progress: Training seconds so far, and the sums of the log record under way.
    """

    step: int
    tensors: dict[str, Tensor]
    identity: dict[str, Any]
    progress: dict[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint over the last one, in one step.

    Raises:
        NonFiniteLossError: If a tensor holds NaN or infinity; the last good one stays.
        CheckpointWriteError: If the disk refuses; the last good one stays.
    """
    for name, tensor in checkpoint.tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NonFiniteLossError(
                f"{name} holds NaN or infinite values after step {checkpoint.step}, no checkpoint "
                "was saved over the last good one; lower optimizer.lr or lengthen the warm-up"
            )
    content = {
        "kind": "checkpoint",
        "format": FORMAT,
        "step": checkpoint.step,
        "identity": checkpoint.identity,
        "progress": checkpoint.progress,
    }
    tensors = {name: tensor.cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    # Made in memory: `save_file` writes through a file of its own, which a kill leaves behind.
    write_atomically(path, save(tensors, {KEY: json.dumps(content)}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointMismatchError: If the file is cut short, or is not a checkpoint of this format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            content = json.loads((file.metadata() or {}).get(KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as cause:
        raise CheckpointMismatchError(
            f"{path} must be a whole checkpoint, got a broken file of "
            f"{path.stat().st_size:,} bytes ({cause}); remove it to start anew"
        ) from cause
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind != "checkpoint":
        raise CheckpointMismatchError(
            f"{path} must be a checkpoint of marginface, got {kind or 'a foreign file'}; "
            "remove it to start anew"
        )
    if content.get("format") != FORMAT:
        raise CheckpointMismatchError(
            f"{path} must have checkpoint format {FORMAT}, got {content.get('format')}; go on with "
            "the version of marginface that wrote it"
        )
    return Checkpoint(
        step=content["step"],
        tensors=tensors,
        identity=content["identity"],
        progress=content["progress"],
    )


def check_same_run(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse a checkpoint whose settings are not those of the run.

    Args:
        path: The checkpoint, for the message.
        found: Its identity.
        expected: The identity of the run that wants to go on.

    Raises:
        CheckpointMismatchError: If they differ; it says in what.
    """
    absent = "absent"
    differences = [
        f"{name} is {found.get(name, absent)!r} there and {expected.get(name, absent)!r} here"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name, absent) != expected.get(name, absent)
    ]
    if differences:
        more = f", and {len(differences) - 4} more" if len(differences) > 4 else ""
        raise CheckpointMismatchError(
            f"{path} must belong to this run, got another one's: {', '.join(differences[:4])}"
            f"{more}; use another run folder, or start anew without resuming"
        )


def copy_tensors(path: Path, found: dict[str, Tensor], live: dict[str, Tensor]) -> None:
    """Copy a checkpoint's tensors into the run's, in place.

    Args:
        path: The checkpoint, for the message.
        found: Its tensors.
        live: The tensors of the run, by the same names.

    Raises:
        CheckpointMismatchError: If a name, shape or type differs; nothing is copied then.
    """
    for name in sorted(found.keys() | live.keys()):
        there, here = _described(found.get(name)), _described(live.get(name))
        if there != here:
            raise CheckpointMismatchError(
                f"{path} must fit this network, got {name} {there} there and {here} here; "
                "use another run folder, or start anew without resuming"
            )
    with torch.no_grad():
        for name, tensor in live.items():
            tensor.copy_(found[name])


def _described(tensor: Tensor | None) -> str:
    if tensor is None:
        return "absent"
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
