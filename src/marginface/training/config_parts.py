"""The parts of a run's description: network, loss, head, data, descent and schedule.

Each checks its own fields when it is made; what must hold between them is the matter of `config`.
"""

from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args

from marginface.data import Augmentation, Corruption
from marginface.errors import unknown_name
from marginface.heads.precision import PRECISIONS

Option = int | float | str | bool | tuple[int, ...] | tuple[float, ...]
OptimizerName = Literal["sgd", "adamw"]
ScheduleKind = Literal["step", "polynomial", "cosine", "constant"]

# The default of a field whose value follows from the name beside it.
BY_NAME: Any = None
OPTIMIZER_DEFAULTS: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": False},
    "adamw": {"lr": 1e-3, "weight_decay": 0.1, "betas": (0.9, 0.999), "eps": 1e-8},
}


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
        at_least("backbone.dim", self.dim, 1)
        at_least("backbone.input_size", self.input_size, 16)


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
        chunk: Classes handled at a time; nothing for all of them at once up to 20,000 classes,
            and 2,048 at a time beyond.
        sample_rate: Share of the classes a step visits, in (0, 1]; those of the batch always are.
        precision: Of the products with the class vectors, a name of the head's table.
        updates_in_walk: Whether class vectors move inside the backward pass, so that not even
            their gradient is stored.
    """

    chunk: int | None = None
    sample_rate: float = 1.0
    precision: str = "float32"
    updates_in_walk: bool = False

    def __post_init__(self) -> None:
        at_least("head.chunk", self.chunk, 1)
        one_of("head.precision", self.precision, tuple(PRECISIONS))
        if not 0 < self.sample_rate <= 1:
            raise ValueError(f"head.sample_rate must lie in (0, 1], got {self.sample_rate}")
        if self.sample_rate < 1 and not self.updates_in_walk:
            raise ValueError(
                "head.sample_rate below 1 must go with head.updates_in_walk, got "
                f"{self.sample_rate} without it; any other way momentum moves the classes left out"
            )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Say what is learnt from.

    Args:
        path: Aligned pictures of people: a pack, a .rec, WebDataset shards or Parquet files.
        identities: A file with one identity a line; nothing for all of the set.
        label_noise: Share of the pictures that get another person's label, in [0, 1), to study what
            wrong labels do; exact, and the same pictures whatever the loss and the seed of the run.
        low_quality: Share of the pictures that are small, blurred or dark once and for all, in
            [0, 1); not an augmentation.
        corruption_seed: Another one draws other pictures, labels and damages.
        augmentation: What is done to the pictures while training.
        workers: Threads that prepare batches ahead; 0 prepares them in the training thread.
    """

    path: Path
    identities: Path | None = None
    label_noise: float = 0.0
    low_quality: float = 0.0
    corruption_seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    workers: int = 1

    def __post_init__(self) -> None:
        at_least("data.workers", self.workers, 0)
        _ = self.corruption  # which checks its own numbers

    @property
    def corruption(self) -> Corruption:
        """What is spoilt on purpose."""
        return Corruption(
            label_noise=self.label_noise, low_quality=self.low_quality, seed=self.corruption_seed
        )


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Describe gradient descent, of backbone and class vectors alike.

    What is left out is decided by `name`; what belongs to the other one must be left out.

    Args:
        name: `sgd`, with momentum, or `adamw`, as transformers are trained.
        lr: Learning rate of the backbone's last stage, before the schedule; 0.1 for `sgd`, 0.001
            for `adamw`.
        momentum: Of `sgd`, in [0, 1); 0.9 if left out.
        weight_decay: The share of a weight that `sgd` adds to its gradient, 5e-4 if left out, and
            that `adamw` takes off it at rate 1, beside the gradient, 0.1 if left out.
        decay_norm_and_bias: Whether norm layers and biases decay too.
        decay_positions: Whether position embeddings and class, register and mask tokens of
            transformers decay too.
        nesterov: Whether the momentum of `sgd` looks ahead.
        betas: Of `adamw`, how much of the running means of the gradient and of its square is kept
            at a step, each in [0, 1); 0.9 and 0.999 if left out.
        eps: Of `adamw`, added to the root of the second mean; 1e-8 if left out.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019,
        arXiv:1711.05101, algorithm 2, for `adamw`. Its defaults of rate and decay are those of
        insightface's arcface_torch, its other ones torch's.
    """

    name: OptimizerName = "sgd"
    lr: float = BY_NAME
    momentum: float | None = None
    weight_decay: float = BY_NAME
    decay_norm_and_bias: bool = True
    decay_positions: bool = True
    nesterov: bool = False
    betas: tuple[float, float] | None = None
    eps: float | None = None

    def __post_init__(self) -> None:
        one_of("optimizer.name", self.name, get_args(OptimizerName))
        self._refuse_those_of_others()
        for field_name, value in OPTIMIZER_DEFAULTS[self.name].items():
            if getattr(self, field_name) is None:
                # Written down, so that a run's config says all that decides its numbers.
                object.__setattr__(self, field_name, value)
        positive("optimizer.lr", self.lr)
        positive("optimizer.eps", self.eps)
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise ValueError(f"optimizer.momentum must lie in [0, 1), got {self.momentum}")
        if self.betas is not None and not _are_betas(self.betas):
            raise ValueError(
                f"optimizer.betas must be two numbers in [0, 1), got {list(self.betas)}"
            )
        if not (isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(
                f"optimizer.weight_decay must be 0 or a finite number above, "
                f"got {self.weight_decay}"
            )
        if self.nesterov and self.momentum == 0:
            raise ValueError(
                "optimizer.nesterov needs a momentum, got optimizer.momentum 0; set it to 0.9"
            )

    def _refuse_those_of_others(self) -> None:
        known = OPTIMIZER_DEFAULTS[self.name]
        for field_name in ("momentum", "nesterov", "betas", "eps"):
            value = getattr(self, field_name)
            if field_name in known or value is None or value is False:
                continue
            other = "adamw" if self.name == "sgd" else "sgd"
            raise ValueError(
                f"optimizer.{field_name} must go with optimizer.name {other!r}, got {value!r} "
                f"with {self.name!r}; leave it out"
            )

    @property
    def moments(self) -> int:
        """How many running means are kept of each weight's gradient."""
        return 2 if self.name == "adamw" else int(self.momentum != 0)


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
        one_of("schedule.kind", self.kind, get_args(ScheduleKind))
        at_least("schedule.warmup_steps", self.warmup_steps, 0)
        positive("schedule.power", self.power)
        positive("schedule.gamma", self.gamma)
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


def _are_betas(values: tuple[float, ...]) -> bool:
    return len(values) == 2 and all(0 <= value < 1 for value in values)


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a value outside a table of names."""
    if value not in known:
        raise unknown_name(name, value, known)


def positive(name: str, value: float | None) -> None:
    """Refuse a number that is not finite and above 0; nothing is fine."""
    if value is not None and not (isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {value}")


def at_least(name: str, value: int | None, least: int) -> None:
    """Refuse a number below `least`; nothing is fine."""
    if value is not None and value < least:
        raise ValueError(f"{name} must be {least} or more, got {value}")
