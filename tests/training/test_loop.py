"""The loop: what stops it loses nothing, and nothing but the config decides its numbers."""

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from marginface.data import Augmentation
from marginface.errors import (
    CheckpointMismatchError,
    CheckpointWriteError,
    DataError,
    NonFiniteLossError,
)
from marginface.recognition import load_model
from marginface.training import (
    BackboneConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    TrainConfig,
    TrainingInterrupted,
    loop,
    read_config,
    read_log,
    train,
)
from marginface.training.build import build_parts, open_training_data
from marginface.training.checkpoint import all_checkpoints, read_state
from tests.training.tiny import (
    NaNOnDark,
    assert_same_tensors,
    bytes_of,
    nan_config,
    newest,
    tensors_of,
    tiny_config,
    write_pack,
)


class CutError(Exception):
    """The power is gone."""


def cut_in_step(monkeypatch: pytest.MonkeyPatch, number: int, action: Any = None) -> None:
    """Let the step with this number, counted in this sitting, fail or do something first."""
    original, calls = loop.take_step, 0

    def step(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            if action is None:
                raise CutError
            action()
        return original(*arguments, **options)

    monkeypatch.setattr(loop, "take_step", step)


def train_with_cut(
    monkeypatch: pytest.MonkeyPatch, config: TrainConfig, run_dir: Path, number: int
) -> None:
    with monkeypatch.context() as patch:
        cut_in_step(patch, number)
        with pytest.raises(CutError):
            train(config, run_dir)
    train(config, run_dir)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": LossConfig(name="adaface", options={"scale": 16.0})},
        {"loss": LossConfig(name="curricularface", options={"scale": 16.0}), "ema_decay": None},
        {"loss": LossConfig(name="elasticface-arc-plus", options={"scale": 16.0}), "accumulate": 1},
        {"precision": "bf16", "channels_last": True},
        {"freeze": ("stem", "layer1"), "layer_rates": {"layer2": 0.1}, "head_lr_ratio": 3.0},
        {"optimizer": OptimizerConfig(lr=0.05, momentum=0.0), "epochs": 4.0, "steps": None},
    ],
    ids=["adaface", "curricularface", "elastic-plus", "bf16", "frozen", "plain-sgd"],
)
def test_a_cut_run_ends_as_an_uncut_one(
    changes: dict[str, Any], pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(pack, **changes)
    whole = train(config, tmp_path / "whole")
    # The epoch has 3 steps: step 8 is cut in the middle of one, two steps past a checkpoint.
    train_with_cut(monkeypatch, config, tmp_path / "cut", 8)
    assert_same_tensors(tmp_path / "cut" / "model.safetensors", whole.model_path)
    assert_same_tensors(*(newest(tmp_path / name) for name in ("cut", "whole")))


def test_the_checkpoint_holds_what_the_losses_remember(pack: Path, tmp_path: Path) -> None:
    config = tiny_config(pack, loss=LossConfig(name="adaface"), steps=3)
    train(config, tmp_path)
    names = tensors_of(newest(tmp_path))
    assert any(name.startswith("head/loss.") for name in names)
    assert {"random/cpu/0", "momentum/head/prototypes", "ema/n_averaged"} <= names.keys()


def test_other_threads_and_paths_make_the_same_run(pack: Path, tmp_path: Path) -> None:
    config = tiny_config(pack, steps=6)
    moved = write_pack(tmp_path / "elsewhere.pack")
    other = DataConfig(path=moved, augmentation=Augmentation.adaface(), workers=0)
    first = train(config, tmp_path / "a")
    second = train(tiny_config(pack, steps=6, data=other), tmp_path / "b")
    assert_same_tensors(first.model_path, second.model_path)
    # And the one may go on from the other.
    assert train(tiny_config(pack, steps=6, data=other), tmp_path / "a") == first


def test_it_learns_and_tells(pack: Path, tmp_path: Path) -> None:
    config = tiny_config(
        pack, steps=45, accumulate=1, ema_decay=None, log_every=15, keeps_tensorboard=True
    )
    result = train(config, tmp_path)
    log = read_log(tmp_path / "log.jsonl")
    assert [record["step"] for record in log] == [15, 30, 45]
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert result.final_loss == log[-1]["loss"]
    assert {"own_cosine", "gradient_norm", "lr", "epoch", "images_per_s"} <= log[0].keys()
    assert log[1]["epoch"] == pytest.approx(30 * 16 / 48)
    assert result.is_complete
    assert result.steps == 45
    assert list((tmp_path / "tensorboard").iterdir())
    assert read_config(tmp_path) == config


def test_the_model_file_carries_the_average_and_the_contract(pack: Path, tmp_path: Path) -> None:
    config = tiny_config(pack)
    result = train(config, tmp_path)
    backbone, contract = load_model(result.model_path)
    state = tensors_of(newest(tmp_path))
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, state[f"ema/module.{name}"])
    assert not torch.equal(backbone.state_dict()["fc.weight"], state["backbone/fc.weight"])
    assert int(state["ema/n_averaged"]) == result.steps
    assert (contract.architecture, contract.dim) == ("iresnet_tiny", 8)
    assert (contract.loss, contract.loss_options) == ("elasticface-arc", {"scale": 16.0})
    told = contract.training_data
    assert (told.name, told.identities, told.images) == ("patterns", 6, 48)
    assert len(told.fingerprint) == 64
    assert contract.licence_note == "CC0"
    assert contract.versions["torch"] == torch.__version__


def test_open_data_is_not_opened_again(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    config = tiny_config(pack)
    faces = open_training_data(config)
    monkeypatch.delattr(loop, "open_training_data")
    assert_same_tensors(
        train(config, tmp_path, faces=faces).model_path, whole / "model.safetensors"
    )


def test_a_finished_run_is_not_trained_again(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(pack, steps=3)
    first = train(config, tmp_path)
    with monkeypatch.context() as patch:
        cut_in_step(patch, 1)
        assert train(config, tmp_path) == first
        with pytest.raises(CutError):
            train(config, tmp_path, resume=False)
    assert not first.model_path.exists()


def test_a_wrong_name_removes_and_makes_nothing(pack: Path, tmp_path: Path) -> None:
    first = train(tiny_config(pack, steps=2), tmp_path / "run")
    wrong = tiny_config(pack, loss=LossConfig(name="arcfase"))
    for run_dir in (tmp_path / "run", tmp_path / "new"):
        with pytest.raises(ValueError, match="did you mean 'arcface'"):
            train(wrong, run_dir, resume=False)
    assert first.model_path.is_file()
    assert not (tmp_path / "new").exists()


def test_a_run_folder_that_is_a_file_is_told(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(CheckpointWriteError, match=r"run must be a folder that can be"):
        train(tiny_config(pack), tmp_path / "run")


def test_an_old_run_that_cannot_be_removed_is_told(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "model.safetensors").mkdir(parents=True)
    told = r"run must be a folder that can be written to, got Is a directory"
    with pytest.raises(CheckpointWriteError, match=told):
        train(tiny_config(pack), tmp_path / "run", resume=False)


@pytest.mark.parametrize("content", ["{", "[]", '{"steps": 3}'])
def test_a_result_that_cannot_be_read_is_told(pack: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    (tmp_path / "model.safetensors").touch()
    told = r"result.json must be the result of a run, got .*; remove it to go on from the last che"
    with pytest.raises(CheckpointMismatchError, match=told):
        train(tiny_config(pack), tmp_path)


def test_a_time_limit_stops_resumably(pack: Path, tmp_path: Path, whole: Path) -> None:
    short = train(tiny_config(pack, time_limit_s=1e-6), tmp_path / "cut")
    assert (short.steps, short.is_complete) == (1, False)
    assert short.model_path.is_file()
    assert train(tiny_config(pack, time_limit_s=1e-6), tmp_path / "cut").steps == 1
    rest = train(tiny_config(pack), tmp_path / "cut")
    assert rest.is_complete
    assert rest.final_loss == read_log(whole / "log.jsonl")[-1]["loss"]
    assert_same_tensors(rest.model_path, whole / "model.safetensors")


def test_a_validation_cannot_disturb_the_run(pack: Path, tmp_path: Path) -> None:
    seen = []

    def validate(step: int, backbone: nn.Module) -> dict[str, float]:
        assert not backbone.training
        seen.append(step)
        return {"drawn": float(torch.rand(()))}

    for name, ema_decay in (("average", 0.9), ("none", None)):
        config = tiny_config(pack, steps=6, ema_decay=ema_decay)
        plain = train(config, tmp_path / f"{name}-plain")
        watched = train(config, tmp_path / name, validate=validate, validate_every=4)
        assert_same_tensors(plain.model_path, watched.model_path)
    assert seen == [4, 6, 4, 6]
    log = read_log(tmp_path / "none" / "log.jsonl")
    assert [record["step"] for record in log if "validation" in record] == [4, 6]


def test_the_caller_keeps_its_random_state(pack: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train(tiny_config(pack, steps=2), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_frozen_stages_stay_as_they_were(pack: Path, tmp_path: Path) -> None:
    config = tiny_config(pack, ema_decay=None, steps=4, freeze=("layer1", "layer2"))
    start = build_parts(config, open_training_data(config)).backbone.state_dict()
    end = tensors_of(train(config, tmp_path).model_path)
    still = {name for name in end if torch.equal(end[name], start[name])}
    # The scale of the last norm is fixed by the architecture.
    assert still == {"features.weight"} | {
        name for name in end if name.startswith(("layer1", "layer2"))
    }


def test_nan_stops_with_the_culprit_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marginface.training.start.make_backbone", lambda *a, **b: NaNOnDark())
    config = nan_config(tmp_path / "with_dark.pack")
    run_dir = tmp_path / "run"
    with pytest.raises(NonFiniteLossError) as stopped:
        train(config, run_dir)
    assert "person_2/person_2_0005.png" in str(stopped.value)
    assert "must be finite, got nan, from 1 of 4 pictures" in str(stopped.value)
    (dump,) = run_dir.glob("nonfinite_step_*.json")
    told = json.loads(dump.read_text())
    assert told["culprits"] == ["person_2/person_2_0005.png"]
    assert len(told["batch"]) == len(told["labels"]) == 4
    assert f"loss of step {told['step']}" in str(stopped.value)
    assert read_state(newest(run_dir)).step == told["step"] - 1
    assert not (run_dir / "model.safetensors").exists()


def test_a_rate_far_too_high_stops_before_anything_bad_is_saved(pack: Path, tmp_path: Path) -> None:
    config = tiny_config(
        pack, optimizer=OptimizerConfig(lr=1e38), clip_norm=None, checkpoint_every_steps=1
    )
    with pytest.raises(NonFiniteLossError, match=r"lower optimizer.lr or lengthen the warm-up"):
        train(config, tmp_path)
    for path in (*tmp_path.glob("*.safetensors"), *all_checkpoints(tmp_path)):
        for tensor in tensors_of(path).values():
            assert bool(torch.isfinite(tensor.float()).all())


def test_a_full_disk_keeps_the_last_checkpoint(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    config = tiny_config(pack)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    cut_in_step(monkeypatch, 5, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard)))
    try:
        with pytest.raises(CheckpointWriteError, match=r"could not be written .*free some space"):
            train(config, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_state(newest(tmp_path / "run")).step == 3
    assert not list((tmp_path / "run").glob(".*.part"))
    result = train(config, tmp_path / "run")
    assert_same_tensors(result.model_path, whole / "model.safetensors")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(
    pack: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: Path,
    number: signal.Signals,
) -> None:
    config = tiny_config(pack)
    with monkeypatch.context() as patch:
        cut_in_step(patch, 5, lambda: os.kill(os.getpid(), number))
        with pytest.raises(TrainingInterrupted, match="stopped after step 5 of 12; everything is"):
            train(config, tmp_path / "run")
    assert read_state(newest(tmp_path / "run")).step == 5
    result = train(config, tmp_path / "run")
    assert_same_tensors(result.model_path, whole / "model.safetensors")


def test_a_second_ctrl_c_stops_at_once(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press_twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    cut_in_step(monkeypatch, 2, press_twice)
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(tiny_config(pack), tmp_path)
    assert not isinstance(stopped.value, TrainingInterrupted)
    assert signal.getsignal(signal.SIGINT) is before


def test_another_architecture_is_refused_and_kept(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        cut_in_step(patch, 5)
        with pytest.raises(CutError):
            train(tiny_config(pack), tmp_path)
    before = bytes_of(newest(tmp_path))
    wider = BackboneConfig(
        name="iresnet_tiny",
        dim=16,
        input_size=32,
        options={"widths": (4, 4, 8, 8), "dropout": 0.2},
    )
    with pytest.raises(CheckpointMismatchError, match=r"backbone.dim is 8 there and 16 here"):
        train(tiny_config(pack, backbone=wider), tmp_path)
    with pytest.raises(CheckpointMismatchError, match="seed is 0 there and 1 here"):
        train(tiny_config(pack, seed=1), tmp_path)
    assert bytes_of(newest(tmp_path)) == before


def test_a_finished_run_of_another_config_is_refused(pack: Path, tmp_path: Path) -> None:
    train(tiny_config(pack, steps=2), tmp_path)
    with pytest.raises(CheckpointMismatchError, match="steps is 2 there and 3 here"):
        train(tiny_config(pack, steps=3), tmp_path)


def test_other_pictures_are_refused(pack: Path, tmp_path: Path) -> None:
    train(tiny_config(pack, steps=2), tmp_path / "run")
    more = write_pack(tmp_path / "more.pack", pictures=9)
    other = DataConfig(path=more, augmentation=Augmentation.adaface())
    with pytest.raises(CheckpointMismatchError, match=r"data.images is 48 there and 54 here"):
        train(tiny_config(pack, steps=2, data=other), tmp_path / "run")


def test_data_that_cannot_teach_is_refused(pack: Path, tmp_path: Path) -> None:
    alone = write_pack(tmp_path / "alone.pack", identities=1)
    with pytest.raises(DataError, match="must hold 2 identities or more, got 1"):
        train(tiny_config(alone), tmp_path / "run")
    with pytest.raises(DataError, match="one batch of 64 pictures or more, got 48"):
        train(tiny_config(pack, batch_size=64), tmp_path / "run")
    with pytest.raises(DataError, match=r"absent.pack must be a set of faces, got nothing"):
        train(tiny_config(tmp_path / "absent.pack"), tmp_path / "run")
