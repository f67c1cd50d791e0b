"""From config to parts: what starts alike, and what is refused."""

from pathlib import Path

import pytest
import torch

from marginface.errors import ModelFileError
from marginface.training import BackboneConfig, LossConfig, TrainConfig, train
from marginface.training.build import Parts, build_parts, open_training_data, total_steps
from tests.training.tiny import tensors_of, tiny_config


def built(config: TrainConfig) -> Parts:
    return build_parts(config, open_training_data(config))


def test_the_loss_changes_no_first_weight(pack: Path) -> None:
    losses = [LossConfig(name=name) for name in ("adaface", "sface", "elasticface-cos-plus")]
    first, *others = [built(tiny_config(pack, loss=loss)) for loss in losses]
    for other in others:
        assert torch.equal(first.head.prototypes, other.head.prototypes)
        for name, tensor in first.backbone.state_dict().items():
            assert torch.equal(tensor, other.backbone.state_dict()[name])


def test_the_seed_changes_all_first_weights(pack: Path) -> None:
    first, other = (built(tiny_config(pack, seed=seed)) for seed in (0, 1))
    assert not torch.equal(first.head.prototypes, other.head.prototypes)
    assert not torch.equal(
        first.backbone.state_dict()["fc.weight"], other.backbone.state_dict()["fc.weight"]
    )


def test_epochs_become_whole_steps(pack: Path) -> None:
    config = tiny_config(pack, steps=None, epochs=2.5, batch_size=14, accumulate=1)
    # 48 pictures hold 3 batches of 14; the rest of each epoch is dropped.
    assert total_steps(config, 48) == round(2.5 * 3)
    assert total_steps(tiny_config(pack, steps=7), 48) == 7
    assert total_steps(tiny_config(pack, steps=None, epochs=0.001), 48) == 1


def test_a_model_file_is_a_start(pack: Path, tmp_path: Path) -> None:
    config = tiny_config(pack, steps=2)
    model = train(config, tmp_path / "run").model_path
    backbone = BackboneConfig(
        name="iresnet_tiny",
        dim=8,
        input_size=32,
        options=config.backbone.options,
        weights=str(model),
    )
    started = built(tiny_config(pack, backbone=backbone))
    state = started.backbone.state_dict()
    fresh = built(config).backbone.state_dict()
    assert not torch.equal(state["fc.weight"], fresh["fc.weight"])
    assert torch.equal(state["fc.weight"], tensors_of(model)["fc.weight"])
    with pytest.raises(
        ModelFileError, match=r"must hold iresnet_tiny with dim 4 .* got iresnet_ti"
    ):
        built(
            tiny_config(
                pack,
                backbone=BackboneConfig(
                    name="iresnet_tiny", dim=4, input_size=32, weights=str(model)
                ),
            )
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": LossConfig(name="arcfase")}, "loss must be one of .*did you mean 'arcface'"),
        (
            {"loss": LossConfig(name="arcface", options={"margin_rad": 28.6})},
            "margin_rad must lie in .* got 28.6; if it is in degrees",
        ),
        (
            {"backbone": BackboneConfig(name="iresnet_tinny", input_size=32)},
            "did you mean 'iresnet_tiny'",
        ),
        ({"freeze": ("layer9",)}, "freeze must be one of stem, layer1"),
        (
            {"backbone": BackboneConfig(name="iresnet_tiny", input_size=32, weights="sfase")},
            "backbone.weights must be one of sface",
        ),
        (
            {"backbone": BackboneConfig(name="iresnet_tiny", input_size=32, weights="sface")},
            "backbone.weights 'sface' must go with backbone.name 'sface', got 'iresnet_tiny'",
        ),
    ],
)
def test_unknown_names_and_options_are_refused(
    changes: dict[str, object], message: str, pack: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        built(tiny_config(pack, **changes))
