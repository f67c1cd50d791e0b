"""The complete description of one training run: frozen values, checked when they are made.

Every field is simple enough to be written to JSON and to be set by its dotted name. What must hold
between fields is checked here, so a run never dies an hour later over its own description.
"""

from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args

from marginface.data import Augmentation
from marginface.errors import unknown_name
from marginface.reconstruction import ReconstructionConfig
from marginface.training.plain import flat as flat
from marginface.training.plain import from_plain, to_plain

Option = int | float | str | bool | tuple[int, ...] | tuple[float, ...]
ScheduleKind = Literal["step", "polynomial", "cosine", "constant"]
Precision = Literal["float32", "bf16"]

# Fields that change where, when and how fast, and no number: a run may resume with others.
WITHOUT_EFFECT = frozenset(
    {
        "data.path",
        "data.identities",
        "data.workers",
        "checkpoint_every_steps",
        "checkpoint_every_s",
        "log_every",
        "time_limit_s",
        "keeps_tensorboard",
    }
)


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """Say which network maps a picture to a feature.

    Args:
        name: A name of the table of backbones.
        dim: Length of a feature.
        input_size: Side of the square input, in pixels; packed pictures are resized to it.
        options: Further keywords of the network's constructor.
        weights: Where training starts from: a name of the table of public weights (`sface`), the
            path of a model file or of an ONNX file of that network, or nothing for weights drawn
            from the seed.
    """

    name: str = "iresnet18"
    dim: int = 512
    input_size: int = 112
    options: dict[str, Option] = field(default_factory=dict)
    weights: str | None = None

    def __post_init__(self) -> None:
        _at_least("backbone.dim", self.dim, 1)
        _at_least("backbone.input_size", self.input_size, 16)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Say which loss trains the network.

    Args:
        name: A name of the table of losses.
        options: Keywords of the loss, such as `scale` or `margin_rad`.
    """

    name: str = "arcface"
    options: dict[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Say how the class vectors are held.

    Args:
        chunk: Classes handled at a time; nothing for all of them at once.
    """

    chunk: int | None = None

    def __post_init__(self) -> None:
        _at_least("head.chunk", self.chunk, 1)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Say what is learnt from.

    Args:
        path: Aligned pictures of people: a pack, a .rec, WebDataset shards or Parquet files.
        identities: A file with one identity a line; nothing for all of the set.
        augmentation: What is done to the pictures while training.
        workers: Threads that prepare batches ahead; 0 prepares them in the training thread.
    """

    path: Path
    identities: Path | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    workers: int = 1

    def __post_init__(self) -> None:
        _at_least("data.workers", self.workers, 0)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Describe stochastic gradient descent.

    Args:
        lr: Learning rate of the backbone's last stage, before the schedule.
        momentum: In [0, 1).
        weight_decay: Added to the gradient as this share of the weight.
        decay_norm_and_bias: Whether norm layers and biases decay too.
        nesterov: Whether the momentum looks ahead.
    """

    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_norm_and_bias: bool = True
    nesterov: bool = False

    def __post_init__(self) -> None:
        _positive("optimizer.lr", self.lr)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"optimizer.momentum must lie in [0, 1), got {self.momentum}")
        if not (isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(
                f"optimizer.weight_decay must be 0 or a finite number above, "
                f"got {self.weight_decay}"
            )
        if self.nesterov and self.momentum == 0:
            raise ValueError(
                "optimizer.nesterov needs a momentum, got optimizer.momentum 0; set it to 0.9"
            )


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Describe how the learning rate moves over the optimiser's steps.

    Args:
        kind: `step` multiplies by `gamma` at each milestone; `polynomial` and `cosine` fall to
            `final_ratio`; `constant` stays.
        warmup_steps: Steps over which the rate rises linearly from almost nothing.
        milestones: Shares of the whole run, in (0, 1), rising.
        gamma: What a milestone multiplies the rate by.
        power: Of the polynomial; 1 is a straight line.
        final_ratio: The rate at the end, as a share of the highest.
    """

    kind: ScheduleKind = "polynomial"
    warmup_steps: int = 0
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    power: float = 1.0
    final_ratio: float = 0.0

    def __post_init__(self) -> None:
        _one_of("schedule.kind", self.kind, get_args(ScheduleKind))
        _at_least("schedule.warmup_steps", self.warmup_steps, 0)
        _positive("schedule.power", self.power)
        _positive("schedule.gamma", self.gamma)
        if not 0 <= self.final_ratio <= 1:
            raise ValueError(f"schedule.final_ratio must lie in [0, 1], got {self.final_ratio}")
        if any(not 0 < share < 1 for share in self.milestones):
            raise ValueError(
                f"schedule.milestones must be shares of the run in (0, 1), got "
                f"{list(self.milestones)}; for step 60 of 100 pass 0.6"
            )
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"schedule.milestones must rise, got {list(self.milestones)}")
        if bool(self.milestones) != (self.kind == "step"):
            raise ValueError(
                "schedule.milestones must be given for schedule.kind 'step' and for no other, got "
                f"{list(self.milestones)} with {self.kind!r}"
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Describe one training run completely.

    Args:
        data: What is learnt from.
        backbone: The network.
        loss: The loss.
        head: How class vectors are held.
        reconstruction: The branch that takes faces apart and draws them again; nothing for none.
        optimizer: Gradient descent.
        schedule: The learning rate over time.
        epochs: Length of the run in passes over the data; give this or `steps`.
        steps: Length of the run in optimiser steps.
        batch_size: Pictures per optimiser step.
        accumulate: Micro-batches each batch is split into to save memory. The gradient is the mean
            over the whole batch; batch normalisation, and losses that look at the whole batch
            (the plus variants of ElasticFace, the statistics of AdaFace and CurricularFace), see
            one micro-batch at a time.
        clip_norm: Largest norm of the backbone's gradient; nothing for no limit.
        precision: `bf16` runs the backbone under autocast; head and loss stay in float32.
        channels_last: Whether pictures and convolutions keep their channels innermost.
        ema_decay: Decay of a running average of the backbone, which is then what is saved;
            nothing for none.
        freeze: Names of backbone stages that do not learn, their batch statistics included.
        layer_rates: Multiplier of the learning rate by name of backbone stage.
        head_lr_ratio: Multiplier of the learning rate of the class vectors.
        seed: Every random number follows from it. The first weights of the backbone depend on it
            and on `backbone` alone, the data order on it and on `data` alone, whatever the loss.
        device: A torch device.
        checkpoint_every_steps: Steps between checkpoints; nothing for by time alone.
        checkpoint_every_s: Seconds between checkpoints; nothing for by steps alone.
        log_every: Steps each log record is the mean of.
        time_limit_s: Training seconds after which the run stops, resumable; nothing for no limit.
        keeps_tensorboard: Whether TensorBoard events are written.
    """

    data: DataConfig
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    reconstruction: ReconstructionConfig | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    epochs: float | None = None
    steps: int | None = None
    batch_size: int = 128
    accumulate: int = 1
    clip_norm: float | None = 5.0
    precision: Precision = "float32"
    channels_last: bool = False
    ema_decay: float | None = None
    freeze: tuple[str, ...] = ()
    layer_rates: dict[str, float] = field(default_factory=dict)
    head_lr_ratio: float = 1.0
    seed: int = 0
    device: str = "cpu"
    checkpoint_every_steps: int | None = None
    checkpoint_every_s: float | None = 60.0
    log_every: int = 20
    time_limit_s: float | None = None
    keeps_tensorboard: bool = True

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                f"epochs or steps must be given, and not both, got epochs {self.epochs} and "
                f"steps {self.steps}"
            )
        for name in ("epochs", "clip_norm", "checkpoint_every_s", "time_limit_s", "head_lr_ratio"):
            _positive(name, getattr(self, name))
        for name in ("steps", "accumulate", "checkpoint_every_steps", "log_every"):
            _at_least(name, getattr(self, name), 1)
        _at_least("seed", self.seed, 0)
        # Batch normalisation of a single row has no variance to divide by.
        _at_least("batch_size", self.batch_size, 2)
        _one_of("precision", self.precision, get_args(Precision))
        if self.batch_size % self.accumulate or self.batch_size == self.accumulate:
            raise ValueError(
                f"batch_size must be accumulate times 2 or more, got batch_size {self.batch_size} "
                f"with accumulate {self.accumulate}"
            )
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in (0, 1), got {self.ema_decay}")
        for stage, rate in self.layer_rates.items():
            _positive(f"layer_rates.{stage}", rate)

    def to_dict(self) -> dict[str, Any]:
        """Return the config as nested dictionaries that JSON can hold."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Make the config again from what `to_dict` returned.

        Raises:
            ValueError: If a field is unknown or a value cannot stand in it.
        """
        return from_plain(cls, values)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise unknown_name(name, value, known)


def _positive(name: str, value: float | None) -> None:
    if value is not None and not (isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {value}")


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise ValueError(f"{name} must be {least} or more, got {value}")
