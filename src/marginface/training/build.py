"""From a config to the parts of a run: the only file that reads the one and calls the others."""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.swa_utils import AveragedModel

from marginface.axes import Tensor
from marginface.data import (
    BatchLoader,
    CorruptedFaces,
    EncodedFaces,
    FaceSet,
    open_faces,
    read_identity_list,
)
from marginface.errors import DataError
from marginface.heads import IdentityHead
from marginface.losses import make_loss
from marginface.training.batch_norm import share_batch_statistics
from marginface.training.branch import Branch, build_branch
from marginface.training.config import TrainConfig
from marginface.training.ema import make_ema
from marginface.training.gradients import with_mean_gradient
from marginface.training.optimizer import KEPT, freeze, kept_tensors, make_optimizer
from marginface.training.processes import ALONE, Processes
from marginface.training.seeds import random_stream
from marginface.training.start import first_backbone

# Formats that open as sets of faces and yet cannot teach who is who, or where a face lies.
UNFIT = {
    "folder": "got a folder, where faces may not be aligned; `marginface data pack` aligns them",
    "bin": "got pairs, which do not say whose faces they are",
}

# Up to here one product over all classes is faster; the head streams this many at a time beyond.
DENSE_CLASSES, CHUNK = 20_000, 2_048


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
        learner: The backbone to call while learning: itself on one process, and on several the one
            that averages the gradients of all.
    """

    backbone: nn.Module
    head: IdentityHead
    optimizer: SGD | AdamW
    ema: AveragedModel | None
    frozen: list[nn.Module]
    branch: Branch | None
    learner: nn.Module

    @property
    def split(self) -> dict[str, int]:
        """All rows of the tensors each process holds some rows of, by their live name."""
        rows, vectors = self.head.num_identities, "head/prototypes"
        names = {vectors, *(f"{kept}/{vectors}" for kept in KEPT.values())}
        found = self.live_tensors()
        return {name: rows for name in sorted(names & found.keys()) if found[name].ndim}

    @property
    def final_backbone(self) -> nn.Module:
        """The network to judge with and to save: the average where there is one."""
        return self.backbone if self.ema is None else self.ema.module

    def model_backbone(self) -> nn.Module:
        """Return the network to save, in the float32 of model files."""
        network = self.final_backbone
        is_double = any(item.dtype == torch.float64 for item in network.parameters())
        return copy.deepcopy(network).float() if is_double else network

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
                kept = kept_tensors(self.optimizer, parameter)
                tensors |= {f"{name}/{part}/{key}": item for name, item in kept.items()}
        return tensors if self.branch is None else tensors | self.branch.live_tensors()


def build_parts(config: TrainConfig, pack: FaceSet, processes: Processes = ALONE) -> Parts:
    """Build network, head and optimiser with their first weights.

    The backbone is drawn from the seed and `config.backbone` alone, the class vectors from the
    seed, their number and their length; so runs that differ in the loss start alike.

    Raises:
        ValueError: If a name or option is unknown.
        WeightsError: If public weights are not on this machine.
        ModelFileError: If the file to start from does not hold this network.
    """
    check_processes(config, processes.size)
    with random_stream(config.seed, "backbone"):
        backbone = first_backbone(config.backbone)
    if processes.size > 1 and config.batch_statistics == "global":
        share_batch_statistics(backbone)
    head = _first_head(config, len(pack.identities), processes)
    dtype = torch.float64 if config.precision == "float64" else torch.float32
    backbone.to(config.device, dtype)
    head.to(config.device, dtype)
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
    if config.head.updates_in_walk:
        head.update_in_walk(optimizer)
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
        learner=_learner(config, backbone, processes),
    )
    parts.start_training()
    return parts


def _first_head(config: TrainConfig, classes: int, processes: Processes) -> IdentityHead:
    with random_stream(config.seed, "loss"):
        loss = make_loss(config.loss.name, **config.loss.options)
    chunk = config.head.chunk
    if chunk is None and classes > DENSE_CLASSES:
        chunk = CHUNK
    with random_stream(config.seed, "head"):
        return IdentityHead(
            num_identities=classes,
            dim=config.backbone.dim,
            loss=loss,
            chunk=chunk,
            sample_rate=config.head.sample_rate,
            precision=config.head.precision,
            process_group=processes.group,
        )


def _learner(config: TrainConfig, backbone: nn.Module, processes: Processes) -> nn.Module:
    if processes.size == 1 or not any(item.requires_grad for item in backbone.parameters()):
        return backbone
    shares_statistics = config.batch_statistics == "global"
    return with_mean_gradient(backbone, broadcasts_buffers=not shares_statistics)


def most_processes(config: TrainConfig) -> int:
    """Return how many processes at most can share a run."""
    if config.reconstruction is not None:
        return 1
    return config.batch_size // config.accumulate // _least_rows(config)


def check_processes(config: TrainConfig, count: int) -> None:
    """Refuse what several processes cannot do.

    Raises:
        ValueError: If `count` is above `most_processes`; it says why.
    """
    if count <= max(1, most_processes(config)):
        return
    if config.reconstruction is not None:
        raise ValueError(
            f"reconstruction must be left out on several processes, got {count}; train it on one"
        )
    raise ValueError(
        f"batch_size must be accumulate times {count * _least_rows(config)} or more on {count} "
        f"processes, got {config.batch_size} with accumulate {config.accumulate}"
    )


def _least_rows(config: TrainConfig) -> int:
    """Return how many rows a process must have; one alone has no variance to divide by."""
    return 1 if config.batch_statistics == "global" else 2


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
    """Open the set, cut down to the chosen identities and spoilt as asked; find the device first.

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
    corruption = config.data.corruption
    return CorruptedFaces(pack, corruption) if corruption.is_any else pack


def total_steps(config: TrainConfig, images: int) -> int:
    """Return the length of the run in optimiser steps; an epoch is the whole batches in it."""
    if config.steps is not None:
        return config.steps
    return max(1, round((config.epochs or 0) * (images // config.batch_size)))


def make_batches(
    config: TrainConfig, pack: FaceSet, *, start_step: int, processes: Processes = ALONE
) -> BatchLoader:
    """Return this process's part of the batches of the run from one step on."""
    return BatchLoader(
        pack,
        batch_size=config.batch_size,
        seed=config.seed,
        augmentation=config.data.augmentation,
        size=config.backbone.input_size,
        workers=config.data.workers,
        start_step=start_step,
        places=processes.places(config.batch_size, config.accumulate),
    )
