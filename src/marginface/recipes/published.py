"""Runs as published, for those who have the data and the machines."""

from pathlib import Path

from marginface.training import (
    BackboneConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)


def elasticface_r100(data: Path) -> TrainConfig:
    """Return the released training of ElasticFace-Arc on MS1MV2.

    Args:
        data: MS1MV2 (85,742 identities, 5,822,653 images) as a pack.

    Source: Boutros et al., "ElasticFace", CVPR-W 2022, arXiv:2109.09416, and its released config:
        batch 512, 26 epochs, rate 0.1 divided by ten at epochs 7, 13, 19 and 24, weight decay on
        everything, clipping of the backbone at 5, mirroring alone.
    Differs: one process instead of four.

    Example:
        >>> elasticface_r100(Path("ms1mv2.pack")).loss.name
        'elasticface-arc'
    """
    return TrainConfig(
        data=DataConfig(path=data, workers=4),
        backbone=BackboneConfig(name="iresnet100", dim=512, input_size=112),
        loss=LossConfig(name="elasticface-arc"),
        optimizer=OptimizerConfig(lr=0.1, momentum=0.9, weight_decay=5e-4),
        schedule=ScheduleConfig(
            kind="step", milestones=tuple(epoch / 26 for epoch in (7, 13, 19, 24))
        ),
        epochs=26.0,
        batch_size=512,
        clip_norm=5.0,
        checkpoint_every_s=600.0,
    )
