"""Joint training: bit for bit the recogniser alone where all weights are 0, resumable, watched."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from marginface.errors import NonFiniteLossError
from marginface.reconstruction import ReconstructionConfig, load_reconstructor
from marginface.training import TrainConfig, TrainingInterrupted, train
from marginface.training import loop as loop_module
from tests.training.tiny import tensors_of, tiny_config, write_pack

OFF: dict[str, Any] = {"reco_weight": 0, "canon_weight": 0, "view_weight": 0}


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return write_pack(tmp_path / "faces.pack")


def joint_config(pack: Path, loss: str = "elasticface-arc", **changes: Any) -> TrainConfig:
    fields: dict[str, Any] = {"size": 32, "width": 8, "decoder_input": "layer2", "planes": 8}
    fields |= {"ramp_start": 0.0, "ramp_end": 0.5, "lr": 1e-3}
    config = ReconstructionConfig(**(fields | changes))
    return tiny_config(pack, steps=6, reconstruction=config)


def test_all_weights_zero_is_the_recogniser_alone_bit_for_bit(pack: Path, tmp_path: Path) -> None:
    alone = train(tiny_config(pack, steps=6), tmp_path / "alone", is_quiet=True)
    joint = train(joint_config(pack, **OFF), tmp_path / "joint", is_quiet=True)
    one, other = tensors_of(alone.model_path), tensors_of(joint.model_path)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_weights_above_zero_train_both(pack: Path, tmp_path: Path) -> None:
    alone = train(tiny_config(pack, steps=6), tmp_path / "alone", is_quiet=True)
    joint = train(joint_config(pack), tmp_path / "joint", is_quiet=True)
    one, other = tensors_of(alone.model_path), tensors_of(joint.model_path)
    assert any(not torch.equal(tensor, other[name]) for name, tensor in one.items())
    networks = load_reconstructor(tmp_path / "joint" / "reconstruction.safetensors")
    idle = train(joint_config(pack, **OFF), tmp_path / "idle", is_quiet=True)
    untouched = load_reconstructor(idle.model_path.with_name("reconstruction.safetensors"))
    before = untouched.reconstructor.state_dict()
    for name, tensor in networks.reconstructor.state_dict().items():
        assert not torch.equal(tensor, before[name]), name
    last = (tmp_path / "joint" / "log.jsonl").read_text().splitlines()[-1]
    assert {"reco", "canon", "view"} <= json.loads(last).keys()


def test_resumes_bit_for_bit(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = joint_config(pack)
    whole = train(config, tmp_path / "whole", is_quiet=True)
    original, calls = loop_module.take_step, 0

    def step(*some: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise TrainingInterrupted("cut here")
        return original(*some, **options)

    monkeypatch.setattr(loop_module, "take_step", step)
    with pytest.raises(TrainingInterrupted):
        train(config, tmp_path / "cut", is_quiet=True)
    monkeypatch.setattr(loop_module, "take_step", original)
    resumed = train(config, tmp_path / "cut", is_quiet=True)
    for name in ("model.safetensors", "reconstruction.safetensors"):
        one = whole.model_path.with_name(name).read_bytes()
        assert one == resumed.model_path.with_name(name).read_bytes(), name


def test_a_nan_in_the_reconstruction_stops_the_run(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> dict[str, torch.Tensor]:
        return {"reco": torch.tensor(float("nan"), requires_grad=True)}

    monkeypatch.setattr("marginface.reconstruction.Objective.terms", broken)
    with pytest.raises(NonFiniteLossError, match="loss of step 1 must be finite"):
        train(joint_config(pack), tmp_path / "run", is_quiet=True)


def test_decodes_from_the_picture_too(pack: Path, tmp_path: Path) -> None:
    train(joint_config(pack, decoder_input="image"), tmp_path / "run", is_quiet=True)
    saved = load_reconstructor(tmp_path / "run" / "reconstruction.safetensors")
    assert saved.decoder_input == "image"


def test_runs_without_reconstruction_keep_their_identity(pack: Path) -> None:
    from marginface.data import PackedFaces
    from marginface.training.describe import run_identity

    opened = PackedFaces.open(pack)
    assert "reconstruction" not in run_identity(tiny_config(pack), opened)
    assert run_identity(joint_config(pack), opened)["reconstruction.size"] == 32
