import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from marginface.backbones import make_backbone
from marginface.errors import MissingExtraError
from marginface.training import BackboneConfig, OptimizerConfig, train
from tests.training.tiny import SIDE, assert_same_tensors, tiny_config, write_pack


def test_without_timm_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"'timm:resnet18' needs .*pip install timm"):
        make_backbone("timm:resnet18")


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in with the two functions the adapter calls."""
    module = ModuleType("timm")

    def create_model(name: str, *, pretrained: bool, num_classes: int, width: int) -> nn.Module:
        assert (name, pretrained) == ("net", False)
        return nn.Sequential(
            nn.Conv2d(3, width, 3, stride=4), nn.Flatten(), nn.Linear(width * 64, num_classes)
        )

    module.create_model = create_model
    module.is_model = lambda name: name == "net"
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


@pytest.mark.usefixtures("timm")
def test_a_timm_network_is_a_backbone() -> None:
    backbone = make_backbone("timm:net", dim=7, input_size=32, width=5)
    assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert [name for name, _ in backbone.stages()] == ["0", "1", "2"]
    assert backbone.network[0].out_channels == 5


@pytest.mark.usefixtures("timm")
def test_what_timm_lets_be_without_decay_is_told() -> None:
    backbone = make_backbone("timm:net", dim=7, input_size=32, width=5)
    assert backbone.positions_and_tokens() == []
    backbone.network.register_parameter("pos_embed", nn.Parameter(torch.zeros(1, 2, 3)))
    backbone.network.no_weight_decay = lambda: {"pos_embed", "cls_token"}
    assert backbone.positions_and_tokens() == [backbone.network.pos_embed]


@pytest.mark.usefixtures("timm")
def test_a_timm_network_trains_under_adamw(tmp_path: Path) -> None:
    part = BackboneConfig(name="timm:net", dim=8, input_size=SIDE, options={"width": 5})
    optimizer = OptimizerConfig(name="adamw", decay_positions=False)
    pack = write_pack(tmp_path / "patterns.pack")
    config = tiny_config(pack, backbone=part, optimizer=optimizer, steps=4)
    train(replace(config, time_limit_s=1e-9), tmp_path / "cut")
    train(config, tmp_path / "whole")
    assert train(config, tmp_path / "cut").is_complete
    assert_same_tensors(*(tmp_path / name / "model.safetensors" for name in ("cut", "whole")))


@pytest.mark.usefixtures("timm")
def test_an_unknown_timm_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"timm\.list_models\(\), got 'nett'"):
        make_backbone("timm:nett", width=5)
