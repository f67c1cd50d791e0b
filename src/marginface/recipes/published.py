"""Runs as published, for those who have the data and the machines: one per row of a table."""

from pathlib import Path

from marginface.recipes.margin_rows import ELASTIC_ARC, MARGIN_ROWS
from marginface.recipes.other_rows import OTHER_ROWS, WITHOUT_RECIPE
from marginface.recipes.rows import PublishedRow
from marginface.recipes.transformer_rows import TRANSFORMER_ROWS
from marginface.training import TrainConfig

__all__ = ["PUBLISHED", "WITHOUT_RECIPE", "elasticface_r100"]

PUBLISHED: dict[str, PublishedRow] = {
    row.name: row for row in (*MARGIN_ROWS, *OTHER_ROWS, *TRANSFORMER_ROWS)
}


def elasticface_r100(data: Path) -> TrainConfig:
    """Return the released training of ElasticFace-Arc on MS1MV2.

    Args:
        data: MS1MV2 (85,742 identities, 5,822,653 images) as a pack.

    Source: Boutros et al., "ElasticFace", CVPR-W 2022, arXiv:2109.09416, and its released config:
        batch 512 in four parts of 128, 26 epochs, rate 0.1 divided by ten at epochs 7, 13, 19 and
        24, weight decay on everything, clipping of the backbone at 5, mirroring alone.
    Differs: the four parts follow one another in one process.

    Example:
        >>> elasticface_r100(Path("ms1mv2.pack")).loss.name
        'elasticface-arc'
    """
    return ELASTIC_ARC.config(data)
