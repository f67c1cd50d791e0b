import errno
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from marginface.backbones import make_backbone
from marginface.errors import CheckpointWriteError, ModelFileError
from marginface.recognition import ModelContract, load_model, read_contract, save_model

CONTRACT = ModelContract(
    architecture="iresnet_tiny",
    dim=16,
    input_size=(32, 32),
    options={"widths": [8, 8, 8, 8]},
)


@pytest.fixture
def backbone() -> nn.Module:
    backbone = make_backbone("iresnet_tiny", dim=16, input_size=32, widths=[8, 8, 8, 8])
    backbone(torch.randn(4, 3, 32, 32))  # running statistics away from their start
    return backbone


@pytest.fixture
def model(tmp_path: Path, backbone: nn.Module) -> Path:
    save_model(tmp_path / "model.safetensors", backbone, CONTRACT)
    return tmp_path / "model.safetensors"


def rewrite(model: Path, changes: dict[str, torch.Tensor | None], contract: ModelContract) -> None:
    tensors = load_file(model) | changes
    kept = {key: value for key, value in tensors.items() if value is not None}
    save_file(kept, model, contract.to_metadata())


def test_round_trip(model: Path, backbone: nn.Module) -> None:
    loaded, contract = load_model(str(model))
    assert contract == CONTRACT == read_contract(model)
    assert not loaded.training
    torch.testing.assert_close(loaded.state_dict(), backbone.state_dict(), rtol=0, atol=0)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded(images), backbone.eval()(images), rtol=0, atol=0)


def test_same_model_same_bytes(model: Path, backbone: nn.Module, tmp_path: Path) -> None:
    save_model(tmp_path / "again.safetensors", backbone, CONTRACT)
    assert (tmp_path / "again.safetensors").read_bytes() == model.read_bytes()


def test_channels_last_weights_are_the_same_model(backbone: nn.Module, tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", backbone, CONTRACT)
    save_model(tmp_path / "b.safetensors", backbone.to(memory_format=torch.channels_last), CONTRACT)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_leaves_the_random_state_alone(model: Path, backbone: nn.Module, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    load_model(model)
    save_model(tmp_path / "again.safetensors", backbone, CONTRACT)
    torch.testing.assert_close(torch.get_rng_state(), state, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "contract", "message"),
    [
        (
            {"fc.weight": torch.zeros(64, 32)},
            CONTRACT,
            r"contract says iresnet_tiny with dim 16, but tensor fc.weight has shape \(64, 32\) "
            r"where \(16, \d+\) belongs; the file was altered or mixed up",
        ),
        ({}, replace(CONTRACT, dim=32), "dim 32, but tensor fc.weight has shape"),
        ({}, replace(CONTRACT, input_size=(64, 64)), "tensor fc.weight has shape"),
        ({}, replace(CONTRACT, input_size=(32, 48)), r"must be square, got \(32, 48\)"),
        ({"fc.weight": None}, CONTRACT, "tensor fc.weight is absent"),
        ({"fc.extra": torch.zeros(1)}, CONTRACT, "which has no tensor fc.extra"),
        (
            {"fc.bias": torch.zeros(16).half()},
            CONTRACT,
            "fc.bias holds torch.float16 where torch.float32 belongs",
        ),
        (
            {"fc.bias": torch.tensor([float("nan")] * 2 + [0.0] * 14)},
            CONTRACT,
            "fc.bias holds 2 NaN or infinite values of 16; this network has diverged",
        ),
        ({}, replace(CONTRACT, architecture="iresnet_tinny"), "did you mean 'iresnet_tiny'?"),
        ({}, replace(CONTRACT, architecture="iresnet18"), "contract says iresnet18 with dim 16"),
        ({}, replace(CONTRACT, options={"width": 8}), "unexpected keyword argument 'width'"),
    ],
)
def test_breaches(
    model: Path,
    changes: dict[str, torch.Tensor | None],
    contract: ModelContract,
    message: str,
) -> None:
    rewrite(model, changes, contract)
    with pytest.raises(ModelFileError, match=message) as caught:
        load_model(model)
    assert str(caught.value).startswith(str(model))
    assert "\n" not in str(caught.value)


def test_save_refuses_a_contract_of_another_network(backbone: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="contract says iresnet_tiny with dim 17"):
        save_model(tmp_path / "model.safetensors", backbone, replace(CONTRACT, dim=17))
    assert not list(tmp_path.iterdir())


def test_save_refuses_a_diverged_network(model: Path, backbone: nn.Module) -> None:
    before = model.read_bytes()
    backbone.get_parameter("fc.bias").data[3] = float("inf")
    with pytest.raises(ModelFileError, match=r"fc.bias holds 1 NaN or infinite values of 16"):
        save_model(model, backbone, CONTRACT)
    assert model.read_bytes() == before


def test_a_full_disk_keeps_the_old_file(
    model: Path, backbone: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = model.read_bytes()

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointWriteError, match="No space left on device"):
        save_model(model, backbone, CONTRACT)
    assert model.read_bytes() == before
    assert list(model.parent.iterdir()) == [model]


@pytest.mark.parametrize("kept", [0, 7, 8, 500, 5000, -1])
def test_a_truncated_file(model: Path, kept: int) -> None:
    content = model.read_bytes()
    model.write_bytes(content[:kept])
    with pytest.raises(ModelFileError, match=r"cut off|not a safetensors file") as caught:
        load_model(model)
    if kept in (500, 5000):
        assert f"the file has {kept:,}; it was cut off" in str(caught.value)
    if kept == -1:
        assert f"{len(content):,} bytes promised" in str(caught.value)


@pytest.mark.parametrize("content", [b"hello, this is no model", b"\xff" * 4096, b"\0" * 4096])
def test_not_safetensors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFileError, match="not a safetensors file"):
        load_model(tmp_path / "model.safetensors")


def test_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_file({"x": torch.zeros(1)}, path, {"marginface": '{"kind": "checkpoint"}'})
    with pytest.raises(ModelFileError, match=r"is a training checkpoint, not a model file; give"):
        load_model(path)


def test_other_files(model: Path, tmp_path: Path) -> None:
    torch.save({"x": 1}, tmp_path / "model.pt")
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    for name, message in {
        "model.pt": "is a pickle of torch.save, not safetensors",
        "model.onnx": "is an ONNX file",
        "absent.safetensors": "does not exist",
        ".": f"is a folder, not a model file; give {model}",
    }.items():
        with pytest.raises(ModelFileError, match=message):
            load_model(tmp_path / name)


def test_foreign_safetensors(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ModelFileError, match="holds no contract under the key 'marginface'"):
        load_model(tmp_path / "foreign.safetensors")
