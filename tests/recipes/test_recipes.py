"""Every recipe builds, and survives being written to JSON."""

import json
from pathlib import Path

import pytest
import torch

from marginface.backbones import make_backbone
from marginface.losses import make_loss
from marginface.recipes import PUBLISHED, RECIPES, demo, elasticface_r100
from marginface.training import TrainConfig
from marginface.training.optimizer import freeze, make_optimizer
from marginface.training.schedule import rate_at

DATA = Path("faces.pack")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_complete(name: str) -> None:
    config = RECIPES[name](DATA)
    assert config.data.path == DATA
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", RECIPES)
def test_its_parts_fit_together(name: str) -> None:
    config = RECIPES[name](DATA)
    shape = config.backbone
    # Without storage, so that a network of 65 million weights costs nothing.
    with torch.device("meta"):
        backbone = make_backbone(
            shape.name, dim=shape.dim, input_size=shape.input_size, **shape.options
        )
        head = torch.nn.Linear(2, 2)
    freeze(backbone, config.freeze)
    make_loss(config.loss.name, **config.loss.options)
    optimizer = make_optimizer(
        backbone,
        head,
        config.optimizer,
        layer_rates=config.layer_rates,
        head_lr_ratio=config.head_lr_ratio,
    )
    assert len(optimizer.param_groups) >= 2


def test_the_length_of_the_demo_can_be_chosen() -> None:
    assert demo(DATA, epochs=2.0).epochs == 2.0


def test_the_released_elasticface_drops_where_it_did() -> None:
    schedule = elasticface_r100(DATA).schedule
    # 295,672 steps are 26 epochs of 11,372; the third drop is at epoch 19.
    rates = [rate_at(step, total=295_672, schedule=schedule) for step in (216_067, 216_068)]
    assert rates == pytest.approx([1e-2, 1e-3])


def test_the_short_name_is_the_row() -> None:
    assert elasticface_r100(DATA) == PUBLISHED["elasticface-arc-r100-ms1mv2"].config(DATA)
