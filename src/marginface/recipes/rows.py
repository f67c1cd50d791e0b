"""What one row of a published table says, and the complete training config it amounts to.

A row holds facts with their source, and says in words what the source leaves open. Figures are
fractions.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from marginface.data import Augmentation
from marginface.reconstruction import ReconstructionConfig
from marginface.training import (
    BackboneConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from marginface.training.config import Option
from marginface.training.config_parts import OptimizerName

# What a figure is a share of: all pairs, or for IJB the mated pairs of templates.
TRIALS = {
    "LFW": 6_000,
    "AgeDB-30": 6_000,
    "CALFW": 6_000,
    "CPLFW": 6_000,
    "CFP-FP": 7_000,
    "IJB-B": 10_270,
    "IJB-C": 19_557,
}
ACCURACY = "accuracy"
NOT_NAMED = "not named"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """A public training set; `pack` is what the commands call it once it is packed."""

    name: str
    identities: int
    images: int
    pack: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One published result.

    Args:
        benchmark: A name of `TRIALS`.
        metric: What was measured, in the words of the source.
        value: A fraction.
        source: Where it is printed.
    """

    benchmark: str
    metric: str
    value: float
    source: str

    @property
    def tolerance(self) -> float | None:
        """How far a repetition may lie off, a fraction: two standard errors of the share.

        None where the metric is not named, because then nothing can be compared.

        Example:
            >>> figure = Figure(benchmark="LFW", metric="accuracy", value=0.998, source="table 3")
            >>> round(figure.tolerance, 5)
            0.00115
        """
        if self.metric == NOT_NAMED:
            return None
        return 2 * math.sqrt(self.value * (1 - self.value) / TRIALS[self.benchmark])


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The learning rate over a run.

    Args:
        epochs: Length of the run.
        drops: Where the rate is divided by ten; nothing for a fall to 0.
        unit: What `drops` counts.
        lr: The highest rate.
        power: Of the fall down to 0 without drops; 1 is the straight line.
        warmup_epochs: Epochs over which the rate rises to it.
    """

    epochs: float
    drops: tuple[int, ...] = ()
    unit: Literal["epochs", "steps"] = "epochs"
    lr: float = 0.1
    power: float = 1.0
    warmup_epochs: int = 0

    def schedule(self, steps_per_epoch: int) -> ScheduleConfig:
        """Return the schedule, its milestones as shares of the run."""
        if not self.drops:
            return ScheduleConfig(
                kind="polynomial",
                power=self.power,
                warmup_steps=self.warmup_epochs * steps_per_epoch,
            )
        total = self.epochs * (steps_per_epoch if self.unit == "steps" else 1)
        return ScheduleConfig(
            kind="step", gamma=0.1, milestones=tuple(drop / total for drop in self.drops)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One row of a published table.

    Args:
        name: The recipe's name.
        label: What the source calls the row.
        paper: Authors, title, place, arXiv number.
        training_set: What was trained on.
        backbone: A name of the table of networks.
        dim: Length of a feature.
        dropout: Before the linear layer; nothing for the network's default.
        network_options: Further options of the network.
        loss: A name of the table of losses.
        options: All options of the loss that the source states.
        course: The learning rate.
        batch: Pictures per step, all processes together.
        processes: Into how many parts a batch fell. Batch statistics, and orders within a batch,
            are taken within a part, as they were within a process.
        optimizer: How it descends; SGD with momentum 0.9, or AdamW with torch's betas and eps.
        weight_decay: Of everything, or of all but norms and biases.
        decays_norms: Which of both.
        clip: Largest norm of the backbone's gradient.
        augmentation: What was done to pictures.
        reconstruction: The branch that takes faces apart.
        schedule_source: Where course, batch and decay stand.
        figures: What was published of it.
        inferred: What no source says and was chosen here.
        differs: What this run does otherwise, knowingly.
    """

    name: str
    label: str
    paper: str
    training_set: TrainingSet
    backbone: str
    loss: str
    options: dict[str, Option]
    course: Course
    batch: int
    schedule_source: str
    dim: int = 512
    dropout: float | None = None
    network_options: dict[str, Option] = field(default_factory=dict)
    optimizer: OptimizerName = "sgd"
    processes: int = 1
    weight_decay: float = 5e-4
    decays_norms: bool = True
    clip: float | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    reconstruction: ReconstructionConfig | None = None
    figures: tuple[Figure, ...] = ()
    inferred: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()

    def config(self, data: Path) -> TrainConfig:
        """Return the whole run over a pack of the row's training set.

        Args:
            data: The training set, packed.
        """
        options = dict(self.network_options)
        if self.dropout is not None:
            options["dropout"] = self.dropout
        return TrainConfig(
            data=DataConfig(path=data, workers=4, augmentation=self.augmentation),
            backbone=BackboneConfig(
                name=self.backbone, dim=self.dim, input_size=112, options=options
            ),
            loss=LossConfig(name=self.loss, options=dict(self.options)),
            reconstruction=self.reconstruction,
            optimizer=OptimizerConfig(
                name=self.optimizer,
                lr=self.course.lr,
                weight_decay=self.weight_decay,
                decay_norm_and_bias=self.decays_norms,
            ),
            schedule=self.course.schedule(self.training_set.images // self.batch),
            epochs=self.course.epochs,
            batch_size=self.batch,
            accumulate=self.processes,
            clip_norm=self.clip,
            checkpoint_every_s=600.0,
        )


def five_sets(
    source: str, *, lfw: float, agedb: float, calfw: float, cplfw: float, cfp_fp: float
) -> tuple[Figure, ...]:
    """Return the accuracies on the five sets that most tables print, in that order."""
    values = (lfw, agedb, calfw, cplfw, cfp_fp)
    return tuple(
        Figure(benchmark=benchmark, metric=ACCURACY, value=value, source=source)
        for benchmark, value in zip(TRIALS, values, strict=False)
    )


def tar_at(far: str, source: str, **values: float) -> tuple[Figure, ...]:
    """Return TAR at one FAR on `ijb_b` and `ijb_c`, whichever is given."""
    return tuple(
        Figure(
            benchmark=name.upper().replace("_", "-"),
            metric=f"TAR at FAR {far}",
            value=value,
            source=source,
        )
        for name, value in values.items()
    )


MS1MV2 = TrainingSet(
    name="MS1MV2",
    identities=85_742,
    images=5_822_653,
    pack="ms1mv2.pack",
    source="as counted by ElasticFace's released config",
)
CASIA = TrainingSet(
    name="CASIA-WebFace",
    identities=10_572,
    images=501_195,
    pack="casia.pack",
    source="as counted by ElasticFace's released config",
)
WEBFACE42M = TrainingSet(
    name="WebFace42M",
    identities=2_059_906,
    images=42_474_557,
    pack="webface42m.pack",
    source="as counted by the configs of insightface's arcface_torch",
)
VGGFACE2 = TrainingSet(
    name="VGGFace2",
    identities=8_631,
    images=3_140_000,
    pack="vggface2.pack",
    source="Cao et al., FG 2018, arXiv:1710.08092: 3.31 million pictures less the test people's "
    "0.17 million, rounded",
)
