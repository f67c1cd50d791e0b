"""The complete description of one training run: frozen values, checked when they are made.

Every field is simple enough to be written to JSON and to be set by its dotted name. What must hold
between fields is checked here, so a run never dies an hour later over its own description.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from marginface.reconstruction import ReconstructionConfig
from marginface.training.config_parts import (
    BackboneConfig,
    DataConfig,
    HeadConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
    at_least,
    one_of,
    positive,
)
from marginface.training.config_parts import Option as Option
from marginface.training.plain import flat as flat
from marginface.training.plain import from_plain, to_plain

Precision = Literal["float32", "bf16", "float64"]
BatchStatistics = Literal["global", "process"]

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
        "timeout_s",
        "keeps_tensorboard",
    }
)
POSITIVE = (
    "epochs",
    "clip_norm",
    "checkpoint_every_s",
    "time_limit_s",
    "timeout_s",
    "head_lr_ratio",
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
        batch_size: Pictures per optimiser step, over all processes.
        accumulate: Micro-batches each batch is split into to save memory. The gradient is the mean
            over the whole batch; batch normalisation, and losses that look at the whole batch
            (the plus variants of ElasticFace, the statistics of AdaFace and CurricularFace), see
            one micro-batch at a time.
        clip_norm: Largest norm of the backbone's gradient; nothing for no limit.
        precision: `bf16` runs the backbone under autocast; head and loss stay in float32.
            `float64` computes everything in it, to compare runs to the last digits.
        batch_statistics: Whether batch normalisation sees the batch of all processes, so that any
            number of them computes what one does, or only the part of its own `process`.
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
        timeout_s: How long a process waits for another one before it gives up.
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
    batch_statistics: BatchStatistics = "global"
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
    timeout_s: float = 600.0
    keeps_tensorboard: bool = True

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                f"epochs or steps must be given, and not both, got epochs {self.epochs} and "
                f"steps {self.steps}"
            )
        for name in POSITIVE:
            positive(name, getattr(self, name))
        for name in ("steps", "accumulate", "checkpoint_every_steps", "log_every"):
            at_least(name, getattr(self, name), 1)
        if not 0 <= self.seed < 1 << 63:
            # NumPy makes a float of what no int64 holds, and then many seeds would draw alike.
            raise ValueError(f"seed must be 0 or more and below 2**63, got {self.seed}")
        # Batch normalisation of a single row has no variance to divide by.
        at_least("batch_size", self.batch_size, 2)
        one_of("precision", self.precision, get_args(Precision))
        one_of("batch_statistics", self.batch_statistics, get_args(BatchStatistics))
        if self.batch_size % self.accumulate or self.batch_size == self.accumulate:
            raise ValueError(
                f"batch_size must be accumulate times 2 or more, got batch_size {self.batch_size} "
                f"with accumulate {self.accumulate}"
            )
        if self.head.updates_in_walk:
            self._check_walk()
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in (0, 1), got {self.ema_decay}")
        for stage, rate in self.layer_rates.items():
            positive(f"layer_rates.{stage}", rate)

    def _check_walk(self) -> None:
        if self.accumulate > 1 or self.optimizer.nesterov:
            raise ValueError(
                "head.updates_in_walk must go with accumulate 1 and optimizer.nesterov False, got "
                f"{self.accumulate} and {self.optimizer.nesterov}"
            )
        if self.optimizer.name != "sgd":
            raise ValueError(
                "head.updates_in_walk must go with optimizer.name 'sgd', got "
                f"{self.optimizer.name!r}; leave it out, and head.sample_rate at 1"
            )
        if self.canonical_weight:
            raise ValueError(
                "head.updates_in_walk must go with reconstruction.canon_weight 0, got "
                f"{self.canonical_weight}; the canonical face meets the class vectors in "
                "the same backward pass, and they would have moved"
            )

    @property
    def canonical_weight(self) -> float:
        """The weight of the reconstructed face, which the head sees beside the picture's own."""
        return 0.0 if self.reconstruction is None else self.reconstruction.canon_weight

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
