"""A plain model file out of a run's last checkpoint, on one machine and without its data."""

from pathlib import Path

import torch

from marginface.errors import CheckpointMismatchError
from marginface.recognition import ModelContract, save_model
from marginface.recognition.model_file import build_backbone
from marginface.training.checkpoint import all_checkpoints, read_state, read_tensors

AVERAGE = "ema/module."


def export_model(run_dir: Path, model_path: Path) -> int:
    """Write the network of a run's newest checkpoint as a model file; return the step it is of.

    It is the running average where the run keeps one, as at the end of the run. The checkpoint may
    have been written by any number of processes; the class vectors are not read.

    Raises:
        CheckpointMismatchError: If there is no checkpoint, or it is broken.
        CheckpointWriteError: If the disk refuses.
    """
    if not (found := all_checkpoints(run_dir)):
        raise CheckpointMismatchError(
            f"{run_dir} must be a run's folder with a checkpoint, got none in it"
        )
    state = read_state(found[-1])
    contract = ModelContract.from_metadata(state.contract)
    tensors: dict[str, torch.Tensor] = {}
    for prefix in (AVERAGE, "backbone/"):
        tensors = tensors or {
            name.removeprefix(prefix): item
            for name, item in read_tensors(state.path, prefix).items()
        }
    network = build_backbone(str(state.path), contract)
    # In the numbers of model files, whatever the run computed in.
    network.load_state_dict(tensors)
    save_model(model_path, network, contract)
    return state.step
