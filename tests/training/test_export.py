"""A model file out of a checkpoint: while the run goes on, and never at the checkpoint's cost."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from marginface.errors import CheckpointMismatchError
from marginface.recognition import load_model
from marginface.training import export, train
from marginface.training.checkpoint import checkpoint_path
from marginface.training.export import export_model
from tests.training.tiny import bytes_of, newest, tiny_config


@pytest.fixture
def run(pack: Path, tmp_path: Path) -> Path:
    train(tiny_config(pack, steps=3), tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["read_state", "read_tensors"])
def test_a_checkpoint_that_the_run_replaces_meanwhile_is_no_broken_one(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    original, old, calls = getattr(export, name), newest(run), 0

    def replaced(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            shutil.copytree(old, checkpoint_path(run, 4))
            shutil.rmtree(old)
        return original(*arguments)

    monkeypatch.setattr(export, name, replaced)
    export_model(run, tmp_path / "model.safetensors")
    assert calls > 1
    load_model(tmp_path / "model.safetensors")


def test_a_broken_checkpoint_is_told_once(run: Path, tmp_path: Path) -> None:
    (newest(run) / "state.json").unlink()
    with pytest.raises(CheckpointMismatchError, match=r"must be a whole checkpoint, got state"):
        export_model(run, tmp_path / "model.safetensors")


def test_a_checkpoint_is_not_written_over(run: Path) -> None:
    before = bytes_of(newest(run))
    for name in (*before, "new.safetensors", "deeper/new.safetensors"):
        with pytest.raises(ValueError, match="must lie outside the checkpoint it is made of, got"):
            export_model(run, newest(run) / name)
    assert bytes_of(newest(run)) == before
