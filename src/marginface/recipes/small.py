"""Runs for two CPU cores and a few thousand pictures, in minutes."""

from pathlib import Path

from marginface.data import Augmentation
from marginface.training import (
    BackboneConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)


def small(data: Path, *, epochs: float = 25.0) -> TrainConfig:
    """Return a run from scratch on some thousand photographs, at 56 pixels.

    With so few people everything that keeps the network from learning them by heart matters more
    than the loss: jitter of the alignment, dropout, the running average, a scale that is not 64.

    Args:
        data: A packed data set.
        epochs: Length of the run.

    Example:
        >>> small(Path("faces.pack")).backbone.name
        'iresnet_tiny'
    """
    return TrainConfig(
        data=DataConfig(
            path=data,
            augmentation=Augmentation(
                low_resolution=0.2,
                photometric=0.3,
                shift=0.05,
                zoom=0.08,
                turn_rad=0.12,
                erase=0.3,
            ),
        ),
        backbone=BackboneConfig(
            name="iresnet_tiny", dim=256, input_size=56, options={"dropout": 0.3}
        ),
        loss=LossConfig(name="cosface", options={"scale": 16.0}),
        optimizer=OptimizerConfig(lr=0.1, weight_decay=2e-3),
        schedule=ScheduleConfig(kind="cosine", warmup_steps=100),
        epochs=epochs,
        batch_size=64,
        channels_last=True,
        ema_decay=0.998,
    )


def sface_finetune(data: Path, *, epochs: float = 4.0) -> TrainConfig:
    """Return a run that starts from the public SFace weights, at 112 pixels.

    The weights have seen far more people than a small set holds, so they move little, the early
    stages least, while the class vectors, which are new, move fast.

    Args:
        data: A packed data set.
        epochs: Length of the run.

    Example:
        >>> sface_finetune(Path("faces.pack")).backbone.weights
        'sface'
    """
    return TrainConfig(
        data=DataConfig(path=data, augmentation=Augmentation.adaface()),
        backbone=BackboneConfig(name="sface", dim=128, input_size=112, weights="sface"),
        loss=LossConfig(name="cosface", options={"scale": 64.0}),
        optimizer=OptimizerConfig(lr=1e-3, weight_decay=5e-4),
        schedule=ScheduleConfig(kind="cosine", warmup_steps=30),
        epochs=epochs,
        batch_size=64,
        channels_last=True,
        ema_decay=0.99,
        freeze=("stem", "layer1"),
        layer_rates={"layer2": 0.3, "layer3": 0.5},
        head_lr_ratio=50.0,
    )


def demo(data: Path, *, epochs: float = 5.0) -> TrainConfig:
    """Return a run on the procedural face world, at 48 pixels.

    Args:
        data: A pack of procedural people.
        epochs: Length of the run.

    Example:
        >>> demo(Path("train.pack")).backbone.input_size
        48
    """
    return TrainConfig(
        data=DataConfig(path=data, augmentation=Augmentation(shift=0.03)),
        backbone=BackboneConfig(name="iresnet_tiny", dim=128, input_size=48),
        loss=LossConfig(name="arcface", options={"scale": 32.0}),
        optimizer=OptimizerConfig(lr=0.1),
        schedule=ScheduleConfig(kind="cosine", warmup_steps=50),
        epochs=epochs,
        batch_size=64,
        channels_last=True,
        ema_decay=0.99,
    )
