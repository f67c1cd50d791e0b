"""Named runs: functions that take a packed data set and return a complete training config.

A recipe is a starting point; any field of what it returns can be replaced.
"""

from collections.abc import Callable
from pathlib import Path

from marginface.recipes.joint import lh2face
from marginface.recipes.published import elasticface_r100
from marginface.recipes.small import demo, sface_finetune, small
from marginface.training import TrainConfig

__all__ = ["RECIPES", "demo", "elasticface_r100", "lh2face", "sface_finetune", "small"]

RECIPES: dict[str, Callable[[Path], TrainConfig]] = {
    "small": small,
    "sface-finetune": sface_finetune,
    "demo": demo,
    "lh2face": lh2face,
    "elasticface-r100": elasticface_r100,
}
