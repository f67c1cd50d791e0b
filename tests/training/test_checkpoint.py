"""The checkpoint: whole or the old one, and never taken for another run's."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from marginface.errors import CheckpointMismatchError, CheckpointWriteError, NonFiniteLossError
from marginface.training import checkpoint as checkpoint_module
from marginface.training.checkpoint import (
    Checkpoint,
    all_checkpoints,
    copy_tensors,
    read_state,
    read_tensors,
    write_checkpoint,
)
from marginface.training.processes import Processes
from marginface.training.same_run import check_same_everywhere, check_same_run
from marginface.training.shard_writer import TYPES


def some_checkpoint(step: int = 3, value: float = 1.0) -> Checkpoint:
    return Checkpoint(
        step=step,
        tensors={"weight": torch.full((2, 3), value), "random/cpu/0": torch.get_rng_state()},
        identity={"seed": 0, "loss.name": "arcface"},
        progress={"seconds": 0.1 + 0.2, "window": {"loss": 1 / 3}},
    )


def written(run_dir: Path, step: int = 3) -> Path:
    write_checkpoint(run_dir, some_checkpoint(step))
    return all_checkpoints(run_dir)[-1]


def test_what_was_written_is_read_bit_for_bit(tmp_path: Path) -> None:
    saved = some_checkpoint()
    saved.tensors["strided"] = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    saved.tensors["scalar"] = torch.tensor(7)
    saved.tensors["none"] = torch.empty(0, 4)
    saved.tensors.update({name: torch.arange(3).to(kind) for kind, name in TYPES.items()})
    write_checkpoint(tmp_path, saved)
    (path,) = all_checkpoints(tmp_path)
    state = read_state(path)
    assert (state.step, state.identity, state.progress) == (3, saved.identity, saved.progress)
    found = read_tensors(path)
    assert found.keys() == saved.tensors.keys()
    for name, tensor in saved.tensors.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, check_stride=False)
    live = {name: torch.zeros_like(item) for name, item in saved.tensors.items() if "/" not in name}
    copy_tensors(path, live)
    for name, tensor in live.items():
        torch.testing.assert_close(tensor, saved.tensors[name], rtol=0, atol=0)


def test_the_newest_takes_the_place_of_the_others(tmp_path: Path) -> None:
    for step in (8, 12, 1_000_000):
        assert written(tmp_path, step).name == f"checkpoint-{step:06d}"
        assert len(list(tmp_path.iterdir())) == 1
    # A kill before the older one goes leaves both; the number decides, not the spelling.
    (tmp_path / "checkpoint-999999").mkdir()
    assert all_checkpoints(tmp_path)[-1].name == "checkpoint-1000000"


def test_no_file_can_run_anything(tmp_path: Path) -> None:
    files = {path.suffix for path in written(tmp_path).iterdir()}
    assert files == {".safetensors", ".json"}


def test_a_full_disk_leaves_the_last_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def refuse_state(*arguments: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    path = written(tmp_path)
    for target, refuse in (
        ("marginface.files.os.fsync", fill_disk),
        ("marginface.training.checkpoint.write_atomically", refuse_state),
    ):
        monkeypatch.setattr(target, refuse)
        with pytest.raises(
            CheckpointWriteError, match=r"-000004 .*(No space|Permission).*untouched"
        ):
            write_checkpoint(tmp_path, some_checkpoint(step=4))
        monkeypatch.undo()
        assert read_state(path).step == 3
        assert list(tmp_path.iterdir()) == [path]


def test_nan_is_never_saved(tmp_path: Path) -> None:
    path = written(tmp_path)
    for bad in (float("nan"), float("inf"), -float("inf")):
        broken = some_checkpoint(step=4)
        broken.tensors["weight"][1, 1] = bad
        with pytest.raises(NonFiniteLossError, match=r"weight holds NaN or infinite .* step 4"):
            write_checkpoint(tmp_path, broken)
    assert all_checkpoints(tmp_path) == [path]


def test_files_cut_short_or_gone_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tensors,) = path.glob("*.safetensors")
    whole = tensors.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        tensors.write_bytes(whole[:length])
        with pytest.raises(CheckpointMismatchError, match=rf"must be a whole .*of {length:,} byt"):
            read_state(path)
    tensors.unlink()
    with pytest.raises(CheckpointMismatchError, match=r"got shard-00001.* absent where .* bytes"):
        read_state(path)
    # As long as promised, but not what was written.
    tensors.write_bytes(bytes(len(whole)))
    with pytest.raises(CheckpointMismatchError, match="must be a whole checkpoint, got a broken"):
        copy_tensors(read_state(path).path, {"weight": torch.zeros(2, 3)})
    state = path / checkpoint_module.STATE
    state.write_text(state.read_text()[:20])
    with pytest.raises(CheckpointMismatchError, match=r"got state.json that cannot be read"):
        read_state(path)


def test_a_file_from_elsewhere_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    (own,) = path.glob("*.safetensors")
    write_checkpoint(tmp_path / "other", some_checkpoint(value=2.0))
    (foreign,) = (tmp_path / "other").glob("*/*.safetensors")
    # Its tensors have the names and the places of the run's, so that either could be taken.
    stray = path / "shard-00002.safetensors"
    shutil.copy(foreign, stray)
    told = rf"{path} must hold the files it was written with, got {stray.name} besides; take it"
    with pytest.raises(CheckpointMismatchError, match=told):
        read_state(path)
    stray.unlink()
    (path / "notes.txt").write_text("no file of tensors is ever taken for one")
    assert read_state(path).step == 3
    assert own.is_file()


def test_a_state_that_leaves_something_out_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    state = path / checkpoint_module.STATE
    told = json.loads(state.read_text())
    for name in ("files", "step", "identity", "processes"):
        state.write_text(json.dumps({key: item for key, item in told.items() if key != name}))
        with pytest.raises(CheckpointMismatchError, match=f"got state.json without '{name}'"):
            read_state(path)


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    state = path / checkpoint_module.STATE
    told = json.loads(state.read_text())
    for content, message in (
        ([], "got a foreign file"),
        ({}, "got a foreign file"),
        ({"kind": "model"}, "must be a checkpoint of marginface, got model"),
        (told | {"format": 99}, "must have checkpoint format 2, got 99"),
    ):
        state.write_text(json.dumps(content))
        with pytest.raises(CheckpointMismatchError, match=message):
            read_state(path)
    shutil.rmtree(path)
    path.mkdir()
    with pytest.raises(CheckpointMismatchError, match="cannot be read"):
        read_state(path)


def test_another_run_is_refused_with_what_differs() -> None:
    path = Path("runs/x/checkpoint-000003")
    there = {"backbone.name": "iresnet18", "seed": 0, "freeze": []}
    here = {"backbone.name": "iresnet_tiny", "seed": 0, "loss.name": "arcface", "freeze": []}
    with pytest.raises(CheckpointMismatchError) as refused:
        check_same_run(path, there, here)
    message = str(refused.value)
    assert "backbone.name is 'iresnet18' there and 'iresnet_tiny' here" in message
    assert "loss.name is 'absent' there and 'arcface' here" in message
    assert "seed" not in message
    check_same_run(path, here, dict(here))
    check_same_everywhere(Processes(), here)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"a": torch.zeros(2), "b": torch.zeros(1)}, r"got a \(2,\) float32 there and \(3,\)"),
        ({"a": torch.ones(3)}, r"got b absent there and \(1,\) float32 here"),
        ({"a": torch.ones(3), "b": torch.ones(1), "c": torch.ones(1)}, r"got c .*absent here"),
        ({"a": torch.ones(3), "b": torch.ones(1).double()}, "float64 there"),
    ],
)
def test_tensors_that_do_not_fit_change_nothing(
    found: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, Checkpoint(step=1, tensors=found, identity={}, progress={}))
    live = {"a": torch.zeros(3), "b": torch.zeros(1)}
    with pytest.raises(CheckpointMismatchError, match=message):
        copy_tensors(all_checkpoints(tmp_path)[0], live)
    assert not any(tensor.any() for tensor in live.values())
