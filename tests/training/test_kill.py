"""Killed at any moment and resumed: the same model and the same loss, bit for bit."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from marginface.training import (
    BackboneConfig,
    LossConfig,
    OptimizerConfig,
    TrainConfig,
    read_log,
    train,
)
from marginface.training.checkpoint import read_state
from tests.training.tiny import SIDE, assert_same_tensors, newest, tensors_of, tiny_config

ROOT = Path(__file__).parents[2]
# Only a failing test waits this long.
PATIENCE_S = 1800


def start(config: TrainConfig, run_dir: Path, *moments: str) -> subprocess.Popen[str]:
    run_dir.mkdir(parents=True, exist_ok=True)
    described = run_dir.with_suffix(".json")
    described.write_text(json.dumps(config.to_dict()))
    threads = str(torch.get_num_threads())
    command = [sys.executable, "-m", "tests.training.child", described, run_dir, threads, *moments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def run(config: TrainConfig, run_dir: Path, *moments: str) -> int:
    child = start(config, run_dir, *moments)
    told, _ = child.communicate(timeout=PATIENCE_S)
    assert not told
    return child.returncode


def assert_same_run(run_dir: Path, whole: Path) -> None:
    assert_same_tensors(run_dir / "model.safetensors", whole / "model.safetensors")
    ours, theirs = (json.loads((item / "result.json").read_text()) for item in (run_dir, whole))
    assert ours["final_loss"] == theirs["final_loss"]
    assert ours["identity"] == theirs["identity"]
    timed = {"seconds", "images_per_s"}
    logs = [
        [{key: value for key, value in record.items() if key not in timed} for record in log]
        for log in (read_log(run_dir / "log.jsonl"), read_log(whole / "log.jsonl"))
    ]
    assert logs[0] == logs[1]
    assert {path.name for path in run_dir.iterdir()} == {path.name for path in whole.iterdir()}


def test_five_kills_change_nothing(pack: Path, tmp_path: Path, whole: Path) -> None:
    config, cut = tiny_config(pack), tmp_path / "cut"
    # Before any checkpoint; in the middle of the first one; between two; when the last one is there
    # and the one before it not yet gone; before the model is there.
    assert run(config, cut, "step-2", "state-1", "step-5", "removal-3", "model-1") == 0
    assert_same_run(cut, whole)


def adamw_config(pack: Path) -> TrainConfig:
    """A transformer with everything on: positions, tokens that skip, norms without decay."""
    options = {"patch": 8, "width": 8, "heads": 2, "blocks": 2}
    return tiny_config(
        pack,
        backbone=BackboneConfig(name="vit_t", dim=8, input_size=SIDE, options=options),
        optimizer=OptimizerConfig(name="adamw", lr=0.01, decay_norm_and_bias=False),
        layer_rates={"stem": 0.5},
    )


def test_kills_of_a_transformer_under_adamw_change_nothing(pack: Path, tmp_path: Path) -> None:
    config, whole, cut = adamw_config(pack), tmp_path / "whole", tmp_path / "cut"
    train(config, whole)
    assert run(config, cut, "step-2", "step-5", "removal-2") == 0
    assert_same_run(cut, whole)
    kept = tensors_of(newest(cut))
    for name in ("head/prototypes", "backbone/pos_embed"):
        assert kept[f"adamw/step/{name}"] == config.steps
        assert kept[f"adamw/exp_avg_sq/{name}"].min() > 0
    assert not any(name.startswith("momentum/") for name in kept)


@pytest.mark.slow
def test_kills_at_every_change_of_a_file_change_nothing(pack: Path, tmp_path: Path) -> None:
    config = tiny_config(pack, steps=40, checkpoint_every_steps=1)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(config, whole) == 0
    # What a sitting does first, and all of its first two saves.
    assert run(config, cut, *(f"change-{number}" for number in range(1, 36))) == 0
    assert_same_run(cut, whole)


def test_ctrl_c_saves_and_says_how_to_go_on(pack: Path, tmp_path: Path) -> None:
    # A run without end that would make no checkpoint by itself.
    config = tiny_config(pack, steps=1_000_000, checkpoint_every_steps=None, log_every=1)
    child = start(config, tmp_path / "run")
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + PATIENCE_S
    while len(read_log(log)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    told, _ = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 130
    step = max(record["step"] for record in read_log(log))
    assert f"stopped after step {step:,} of 1,000,000" in told
    assert "run the same command again to go on" in told
    assert 3 <= step < 1_000_000
    assert read_state(newest(tmp_path / "run")).step == step


@pytest.mark.slow
@pytest.mark.parametrize("name", ["elasticface-cos-plus", "adaface", "curricularface"])
def test_kills_at_random_times_change_nothing(pack: Path, tmp_path: Path, name: str) -> None:
    config = tiny_config(
        pack,
        loss=LossConfig(name=name, options={"scale": 16.0}),
        steps=200,
        checkpoint_every_steps=None,
        checkpoint_every_s=0.05,
        keeps_tensorboard=True,
    )
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(config, whole) == 0
    draw = random.Random(name)
    # Eight sittings of twenty steps at the most, so that each of them is killed.
    moments = [f"passing-{draw.randint(3, 16)}-{draw.uniform(0.01, 2)}" for _ in range(8)]
    assert run(config, cut, *moments) == 0
    assert_same_run(cut, whole)
