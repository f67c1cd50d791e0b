from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from marginface.axes import Tensor
from marginface.backbones import make_backbone
from marginface.errors import MissingExtraError, ModelFileError
from marginface.recognition import Gallery, MatchThreshold, ModelContract, Recognizer, save_onnx

OBAMA = Path(__file__).parents[1] / "pictures/barack_obama/barack_obama_0001.jpg"
CONTRACT = ModelContract(
    architecture="iresnet_tiny",
    dim=16,
    input_size=(32, 32),
    colour="BGR",
    mean=(120.0, 110.0, 100.0),
    flip_average=True,
    threshold=MatchThreshold(value=0.25, fmr=0.001, fixed_on="made"),
)


@pytest.mark.parametrize("architecture", ["iresnet_tiny", "mobilefacenet"])
def test_the_file_is_the_model(architecture: str, tmp_path: Path) -> None:
    contract = replace(CONTRACT, architecture=architecture)
    backbone = make_backbone(architecture, dim=16, input_size=32)
    assert save_onnx(tmp_path / "model.onnx", backbone, contract) < 1e-5
    first = Recognizer.from_backbone(backbone, contract, name="first")
    other = Recognizer.load(tmp_path / "model.onnx")
    assert other.contract == contract
    faces = np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)
    np.testing.assert_allclose(other.embed_aligned(faces), first.embed_aligned(faces), atol=1e-5)
    # One gallery serves both engines.
    Gallery.of(first).check(other)


def test_the_public_network_can_leave_torch(sface: Recognizer, tmp_path: Path) -> None:
    save_onnx(tmp_path / "sface.onnx", sface.network.backbone, sface.contract)
    other = Recognizer.load(tmp_path / "sface.onnx")
    np.testing.assert_allclose(other.embed(OBAMA), sface.embed(OBAMA), atol=1e-5)
    assert other.verify(OBAMA, OBAMA).is_match


def test_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    backbone = make_backbone("iresnet_tiny", dim=16, input_size=32).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    save_onnx(tmp_path / "model.onnx", backbone, CONTRACT)
    assert backbone.training
    torch.testing.assert_close(backbone.state_dict(), before, rtol=0, atol=0)


class Branching(nn.Module):
    """Takes another way for several pictures, which tracing cannot see."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16))

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean(dim=(2, 3))[:, :1]
        return mean * self.weight if len(images) > 2 else mean.abs() + self.weight


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16))

    def forward(self, images: Tensor) -> Tensor:
        return torch.linalg.eigvals(images[:, 0]).real[:, :16] * self.weight


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (Branching(), "must give the network's own features, got others by .* it was not written"),
        (Untraceable(), "iresnet_tiny cannot be written as ONNX"),
    ],
)
def test_refuses_a_network_it_would_change(
    backbone: nn.Module, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelFileError, match=message):
        save_onnx(tmp_path / "model.onnx", backbone, CONTRACT)
    assert not list(tmp_path.iterdir())


def test_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = make_backbone("iresnet_tiny", dim=16, input_size=32)
    with pytest.raises(ValueError, match=r"must end in \.onnx, got .*model\.pb"):
        save_onnx(tmp_path / "model.pb", backbone, CONTRACT)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match="needs onnxruntime, which is not installed"):
        save_onnx(tmp_path / "model.onnx", backbone, CONTRACT)
