"""The smoke scale: the same run in small, and it trains."""

from dataclasses import replace
from pathlib import Path

import pytest

from marginface.recipes import RECIPES, smoke
from marginface.training import TrainConfig, train
from tests.training.tiny import write_pack

DATA = Path("faces.pack")
ONE_PER_LOSS = {RECIPES[name](DATA).loss.name: name for name in RECIPES}


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("smoke") / "patterns.pack")


@pytest.mark.parametrize("name", RECIPES)
def test_what_makes_the_run_stays(name: str) -> None:
    whole = RECIPES[name](DATA)
    small = smoke(whole)
    assert small.loss == whole.loss
    assert small.data.augmentation == whole.data.augmentation
    assert (small.schedule.kind, small.schedule.milestones) == (
        whole.schedule.kind,
        whole.schedule.milestones,
    )
    assert (small.reconstruction is None) == (whole.reconstruction is None)
    assert (small.steps, small.batch_size, small.epochs) == (200, 32, None)
    assert 48 <= small.backbone.input_size <= 64
    assert small.backbone.name in {"iresnet_tiny", "mobilefacenet", "vit_t"}
    share = small.batch_size / whole.batch_size
    expected = share if whole.optimizer.name == "sgd" else share**0.5
    assert small.optimizer.lr / whole.optimizer.lr == pytest.approx(expected)
    assert small.optimizer == replace(whole.optimizer, lr=small.optimizer.lr)
    assert smoke(small) == small


def test_the_family_and_its_options_stay() -> None:
    casia = smoke(RECIPES["sface-r50-casia"](DATA)).backbone
    assert (casia.name, casia.options) == ("iresnet_tiny", {"dropout": 0.5})
    public = smoke(RECIPES["sface-finetune"](DATA))
    assert (public.backbone.name, public.backbone.weights) == ("mobilefacenet", None)
    # What was frozen had learnt something; random weights have not.
    assert public.freeze == ()


def test_a_transformer_stays_one(pack: Path, tmp_path: Path) -> None:
    config = smoke(RECIPES["cosface-vit-b-webface42m"](pack))
    assert config.backbone.name == "vit_t"
    assert config.backbone.options.items() >= {"drop_path": 0.05, "mask_ratio": 0.1}.items()
    assert config.accumulate == 4
    assert train(shorter(config), tmp_path).is_complete


def test_parts_of_a_batch_stay_large_enough_for_their_statistics() -> None:
    assert smoke(RECIPES["arcface-r100-ms1mv2"](DATA)).accumulate == 4
    assert smoke(RECIPES["sface-r50-casia"](DATA)).accumulate == 2


@pytest.mark.parametrize("loss", ONE_PER_LOSS)
def test_every_loss_trains(loss: str, pack: Path, tmp_path: Path) -> None:
    config = smoke(RECIPES[ONE_PER_LOSS[loss]](pack))
    result = train(shorter(config), tmp_path)
    assert result.is_complete
    assert result.steps == 3
    assert result.model_path.is_file()


def shorter(config: TrainConfig) -> TrainConfig:
    backbone = replace(config.backbone, input_size=32)
    options = {"keeps_tensorboard": False, "log_every": 1}
    return replace(config, backbone=backbone, steps=3, **options)
