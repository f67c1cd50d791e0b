"""What a run says of itself: its identity, the contract of its model, the versions it ran under."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from marginface.data import FaceSet
from marginface.files import sha256_of
from marginface.recognition import ModelContract, TrainingData
from marginface.recognition.model_file import FUSION
from marginface.training.checkpoint import all_checkpoints
from marginface.training.config import WITHOUT_EFFECT, TrainConfig
from marginface.training.plain import flat, to_plain
from marginface.training.start import licence_note, weights_file

# Fields with what they were before there were any, so that older runs can be gone on with.
ADDED_LATER = {
    "reconstruction": None,
    "data.label_noise": 0.0,
    "data.low_quality": 0.0,
    "optimizer.name": "sgd",
    "optimizer.decay_positions": True,
    "optimizer.betas": None,
    "optimizer.eps": None,
}


def run_identity(config: TrainConfig, pack: FaceSet) -> dict[str, Any]:
    """Return all that decides the numbers of the run, by dotted name.

    A file to start from counts by its content, not by its place.

    Raises:
        ValueError: If `backbone.weights` is neither a public name nor a model or ONNX file.
        WeightsError: If the file to start from is not there.
    """
    settings = flat(config.to_dict())
    decisive = {
        name: value
        for name, value in settings.items()
        if name not in WITHOUT_EFFECT and (name not in ADDED_LATER or value != ADDED_LATER[name])
    }
    if not config.data.corruption.is_any:
        del decisive["data.corruption_seed"]  # a seed that draws nothing decides nothing
    if (file := weights_file(config.backbone)) is not None:
        decisive["backbone.weights"] = f"sha256 {sha256_of(file)}"
    return decisive | {
        "data.fingerprint": pack.fingerprint,
        "data.images": len(pack),
        "data.identities": len(pack.identities),
    }


def make_contract(config: TrainConfig, pack: FaceSet) -> ModelContract:
    """Return the contract that the run's model file carries."""
    side = config.backbone.input_size
    fusion = {}
    if config.reconstruction is not None and config.reconstruction.fr_input != "image":
        fusion = {FUSION: to_plain(config.reconstruction)}
    name = str(pack.meta.get("name", config.data.path.name))
    return ModelContract(
        architecture=config.backbone.name,
        options=dict(config.backbone.options) | fusion,
        input_size=(side, side),
        dim=config.backbone.dim,
        loss=config.loss.name,
        loss_options=dict(config.loss.options),
        training_data=TrainingData(
            name=name,
            identities=len(pack.identities),
            images=len(pack),
            fingerprint=pack.fingerprint,
        ),
        licence_note=licence_note(config, pack, name),
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Return the versions that numbers can depend on."""
    return {
        "marginface": version("marginface"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def start_of(
    config: TrainConfig, identity: dict[str, Any], run_dir: Path, *, resume: bool
) -> dict[str, Any]:
    """Return what must be the same for all processes of a run when they start, by dotted name."""
    newest = [path.name for path in all_checkpoints(run_dir)[-1:]]
    return {
        **identity,
        **{f"version of {name}": value for name, value in versions().items()},
        # Where the machines do not share the folder, they would go on from different steps.
        "checkpoint": newest[0] if resume and newest else None,
        "resume": resume,
    }
