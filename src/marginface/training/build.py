"""From a config to the parts of a run: the only file that reads the one and calls the others."""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import nn
from torch.optim import SGD
from torch.optim.swa_utils import AveragedModel

from marginface.axes import Tensor
from marginface.data import BatchLoader, EncodedFaces, FaceSet, open_faces, read_identity_list
from marginface.errors import DataError
from marginface.files import sha256_of
from marginface.heads import IdentityHead
from marginface.losses import make_loss
from marginface.recognition import ModelContract, TrainingData
from marginface.recognition.model_file import FUSION
from marginface.training.branch import Branch, build_branch
from marginface.training.config import WITHOUT_EFFECT, TrainConfig
from marginface.training.ema import make_ema
from marginface.training.optimizer import freeze, make_optimizer
from marginface.training.plain import flat, to_plain
from marginface.training.seeds import random_stream
from marginface.training.start import first_backbone, licence_note, weights_file

# Formats that open as sets of faces and yet cannot teach who is who, or where a face lies.
UNFIT = {
    "folder": "got a folder, where faces may not be aligned; `marginface data pack` aligns them",
    "bin": "got pairs, which do not say whose faces they are",
}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of one run, ready for its first step.

    Args:
        backbone: The network, in training mode but for its frozen stages.
        head: The class vectors with the loss.
        optimizer: Gradient descent over both.
        ema: The running average of the backbone, if there is one.
        frozen: The stages that do not learn.
        branch: The reconstruction beside the recogniser, if there is one.
    """

    backbone: nn.Module
    head: IdentityHead
    optimizer: SGD
    ema: AveragedModel | None
    frozen: list[nn.Module]
    branch: Branch | None = None

    @property
    def final_backbone(self) -> nn.Module:
        """The network to judge with and to save: the average where there is one."""
        return self.backbone if self.ema is None else self.ema.module

    def start_training(self) -> None:
        """Put everything that learns into training mode."""
        self.backbone.train()
        self.head.train()
        for stage in self.frozen:
            stage.eval()
        if self.branch is not None:
            self.branch.networks.train()

    def live_tensors(self) -> dict[str, Tensor]:
        """Return every tensor that a step may change, by name; writing to one changes the run."""
        tensors = {f"backbone/{key}": item for key, item in self.backbone.state_dict().items()}
        tensors |= {f"head/{key}": item for key, item in self.head.state_dict().items()}
        if self.ema is not None:
            tensors |= {f"ema/{key}": item for key, item in self.ema.state_dict().items()}
        for part, module in (("backbone", self.backbone), ("head", self.head)):
            for key, parameter in module.named_parameters():
                if parameter in self.optimizer.state:
                    momentum = self.optimizer.state[parameter]["momentum_buffer"]
                    tensors[f"momentum/{part}/{key}"] = momentum
        return tensors if self.branch is None else tensors | self.branch.live_tensors()


def build_parts(config: TrainConfig, pack: FaceSet) -> Parts:
    """Build network, head and optimiser with their first weights.

    The backbone is drawn from the seed and `config.backbone` alone, the class vectors from the
    seed, their number and their length; so runs that differ in the loss start alike.

    Raises:
        ValueError: If a name or option is unknown.
        WeightsError: If public weights are not on this machine.
        ModelFileError: If the file to start from does not hold this network.
    """
    with random_stream(config.seed, "backbone"):
        backbone = first_backbone(config.backbone)
    with random_stream(config.seed, "loss"):
        loss = make_loss(config.loss.name, **config.loss.options)
    with random_stream(config.seed, "head"):
        head = IdentityHead(
            num_identities=len(pack.identities),
            dim=config.backbone.dim,
            loss=loss,
            chunk=config.head.chunk,
        )
    backbone.to(config.device)
    head.to(config.device)
    if config.channels_last:
        backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    frozen = freeze(backbone, config.freeze)
    # Before the optimiser: a recogniser that looks at reconstructions gets a wider convolution.
    branch = _branch(config, backbone)
    optimizer = make_optimizer(
        backbone,
        head,
        config.optimizer,
        layer_rates=config.layer_rates,
        head_lr_ratio=config.head_lr_ratio,
    )
    if branch is not None:
        backbone = branch.objective.backbone
    ema = None if config.ema_decay is None else make_ema(backbone, decay=config.ema_decay)
    parts = Parts(
        backbone=backbone,
        head=head,
        optimizer=optimizer,
        ema=ema,
        frozen=frozen,
        branch=branch,
    )
    parts.start_training()
    return parts


def _branch(config: TrainConfig, backbone: nn.Module) -> Branch | None:
    if config.reconstruction is None:
        return None
    with random_stream(config.seed, "reconstruction"):
        return build_branch(
            config.reconstruction,
            backbone,
            input_size=config.backbone.input_size,
            uses_bf16=config.precision == "bf16",
            device=config.device,
        )


def open_training_data(config: TrainConfig) -> FaceSet:
    """Open the set, cut down to the chosen identities; look for the device first.

    Raises:
        ValueError: If the config's device is not on this machine.
        DataError: If it is missing or broken, of a format without aligned people, has one identity
            only, or not one whole batch.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    try:
        torch.empty(0, device=config.device)
    except (RuntimeError, AssertionError) as cause:
        raise ValueError(
            f"device must be one this machine has, got {config.device!r}; leave it out for cpu"
        ) from cause
    pack = open_faces(config.data.path)
    if isinstance(pack, EncodedFaces) and pack.kind in UNFIT:
        raise DataError(f"{config.data.path} must be a set to train on, {UNFIT[pack.kind]}")
    if config.data.identities is not None:
        pack = pack.subset(identities=read_identity_list(config.data.identities))
    count = len(pack.identities)
    if count < 2:
        raise DataError(f"{config.data.path} must hold 2 identities or more, got {count}")
    if len(pack) < config.batch_size:
        raise DataError(
            f"{config.data.path} must hold one batch of {config.batch_size} pictures or more, "
            f"got {len(pack):,}; lower batch_size"
        )
    return pack


def total_steps(config: TrainConfig, images: int) -> int:
    """Return the length of the run in optimiser steps; an epoch is the whole batches in it."""
    if config.steps is not None:
        return config.steps
    return max(1, round((config.epochs or 0) * (images // config.batch_size)))


def make_batches(config: TrainConfig, pack: FaceSet, *, start_step: int) -> BatchLoader:
    """Return the batches of the run from one step on."""
    return BatchLoader(
        pack,
        batch_size=config.batch_size,
        seed=config.seed,
        augmentation=config.data.augmentation,
        size=config.backbone.input_size,
        workers=config.data.workers,
        start_step=start_step,
    )


def run_identity(config: TrainConfig, pack: FaceSet) -> dict[str, Any]:
    """Return all that decides the numbers of the run, by dotted name.

    A file to start from counts by its content, not by its place.

    Raises:
        ValueError: If `backbone.weights` is neither a public name nor a model or ONNX file.
        WeightsError: If the file to start from is not there.
    """
    settings = flat(config.to_dict())
    decisive = {name: value for name, value in settings.items() if name not in WITHOUT_EFFECT}
    if config.reconstruction is None:
        # So that runs from before there was reconstruction can be gone on with.
        del decisive["reconstruction"]
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
