"""A plain model file out of a run's last checkpoint, on one machine and without its data."""

from pathlib import Path

import torch

from marginface.errors import CheckpointMismatchError
from marginface.recognition import ModelContract, save_model
from marginface.recognition.model_file import build_backbone
from marginface.training.checkpoint import State, all_checkpoints, read_state, read_tensors

AVERAGE = "ema/module."


def export_model(run_dir: Path, model_path: Path) -> int:
    """Write the network of a run's newest checkpoint as a model file; return the step it is of.

    It is the running average where the run keeps one, as at the end of the run. The checkpoint may
    have been written by any number of processes; the class vectors are not read. The run may go
    on meanwhile, and replace its checkpoint.

    Raises:
        CheckpointMismatchError: If there is no checkpoint, or it is broken.
        CheckpointWriteError: If the disk refuses.
        ValueError: If the model file would lie inside the checkpoint.
    """
    state, tensors = _newest_network(run_dir)
    if model_path.resolve().is_relative_to(state.path.resolve()):
        raise ValueError(
            f"the model file must lie outside the checkpoint it is made of, got {model_path}; "
            f"{run_dir / 'exported.safetensors'} would do"
        )
    contract = ModelContract.from_metadata(state.contract)
    network = build_backbone(str(state.path), contract)
    # In the numbers of model files, whatever the run computed in.
    network.load_state_dict(tensors)
    save_model(model_path, network, contract)
    return state.step


def _newest_network(run_dir: Path) -> tuple[State, dict[str, torch.Tensor]]:
    """Return what the newest checkpoint tells, and the tensors of its network."""
    if not (found := all_checkpoints(run_dir)):
        raise CheckpointMismatchError(
            f"{run_dir} must be a run's folder with a checkpoint, got "
            f"{'none in it; train until there is one' if run_dir.is_dir() else 'no folder'}"
        )
    try:
        return read_state(found[-1]), _network_of(found[-1])
    except CheckpointMismatchError:
        # The run writes a newer one before it removes this one, maybe while it is read.
        if all_checkpoints(run_dir)[-1:] == found[-1:]:
            raise
    return _newest_network(run_dir)


def _network_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    for prefix in (AVERAGE, "backbone/"):
        if tensors := read_tensors(checkpoint, prefix):
            return {name.removeprefix(prefix): item for name, item in tensors.items()}
    return {}
