"""Any recipe, shrunk until two CPU cores run it in minutes: does it run at all, end to end?"""

import math
from dataclasses import replace

from marginface.reconstruction import ReconstructionConfig
from marginface.training import BackboneConfig, TrainConfig
from marginface.training.config import Option

STEPS = 200
BATCH = 32
SIDE = 56
DIM = 128
# The families whose constructor takes `dropout`; other options belong to one network's size.
_TINY_OPTIONS = ("dropout", "freeze_bn_scale")
_MOBILE = ("mobilefacenet", "sface")
# A transformer of this width and depth stands for any; what it leaves out in training stays.
_TINY_TRANSFORMER = {"width": 64, "blocks": 4, "heads": 4, "patch": 8}
_TRANSFORMER_OPTIONS = ("drop_path", "mask_ratio")


def smoke(config: TrainConfig) -> TrainConfig:
    """Return the same run for a small network, small pictures, small batches and 200 steps.

    Loss, options, augmentation, decay and the shape of the schedule stay; milestones are shares of
    the run and move with it. The rate shrinks with the batch, that of AdamW with its root. Weights
    to start from are dropped, and with them what was frozen, because they belong to the large
    network. What such a run measures means nothing.

    Args:
        config: Any run.

    Example:
        >>> from pathlib import Path
        >>> from marginface.recipes import RECIPES
        >>> tiny = smoke(RECIPES["sface-r100-ms1mv2"](Path("some.pack")))
        >>> tiny.backbone.name, tiny.steps, tiny.loss.options["intra_rad"]
        ('iresnet_tiny', 200, 0.9)
    """
    batch = min(BATCH, config.batch_size)
    return replace(
        config,
        data=replace(config.data, workers=min(config.data.workers, 1)),
        backbone=_small(config.backbone),
        reconstruction=_small_branch(config.reconstruction),
        optimizer=replace(config.optimizer, lr=_rate(config, batch / config.batch_size)),
        schedule=replace(
            config.schedule, warmup_steps=min(config.schedule.warmup_steps, STEPS // 10)
        ),
        epochs=None,
        steps=STEPS,
        batch_size=batch,
        # Four parts of eight show what parts do; more would leave too little for batch statistics.
        accumulate=math.gcd(config.accumulate, 4) if batch == BATCH else 1,
        freeze=() if config.backbone.weights else config.freeze,
        checkpoint_every_s=60.0,
        log_every=10,
    )


def _rate(config: TrainConfig, share: float) -> float:
    """Return the rate for a share of the batch.

    Source: Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms",
        NeurIPS 2022, arXiv:2205.10287, for the root.
    """
    return config.optimizer.lr * (math.sqrt(share) if config.optimizer.name == "adamw" else share)


def _small(backbone: BackboneConfig) -> BackboneConfig:
    name, known, fixed = "iresnet_tiny", set(_TINY_OPTIONS), dict[str, Option]()
    if backbone.name in _MOBILE:
        name, known = "mobilefacenet", set()
    elif backbone.name.startswith("vit_"):
        name, known, fixed = "vit_t", set(_TRANSFORMER_OPTIONS), dict(_TINY_TRANSFORMER)
    kept = {key: value for key, value in backbone.options.items() if key in known}
    return BackboneConfig(
        name=name,
        dim=min(backbone.dim, DIM),
        input_size=min(backbone.input_size, SIDE),
        options=fixed | kept,
    )


def _small_branch(branch: ReconstructionConfig | None) -> ReconstructionConfig | None:
    if branch is None:
        return None
    return replace(
        branch,
        size=min(branch.size, 32),
        width=min(branch.width, 16),
        planes=min(branch.planes, 20),
    )
