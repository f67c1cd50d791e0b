"""Named runs: functions that take a packed data set and return a complete training config.

A recipe is a starting point; any field of what it returns can be replaced. Those named after a row
of a published table stand in `PUBLISHED` with the row's result; `smoke` shrinks any of them.
"""

from collections.abc import Callable
from pathlib import Path

from marginface.recipes.joint import lh2face
from marginface.recipes.published import PUBLISHED, WITHOUT_RECIPE, elasticface_r100
from marginface.recipes.rows import Figure, PublishedRow, TrainingSet
from marginface.recipes.small import demo, sface_finetune, small
from marginface.recipes.smoke import smoke
from marginface.training import TrainConfig

__all__ = [
    "PUBLISHED",
    "RECIPES",
    "WITHOUT_RECIPE",
    "Figure",
    "PublishedRow",
    "TrainingSet",
    "demo",
    "elasticface_r100",
    "lh2face",
    "sface_finetune",
    "small",
    "smoke",
]

RECIPES: dict[str, Callable[[Path], TrainConfig]] = {
    "small": small,
    "sface-finetune": sface_finetune,
    "demo": demo,
    "lh2face": lh2face,
    "elasticface-r100": elasticface_r100,
    **{name: row.config for name, row in PUBLISHED.items()},
}
