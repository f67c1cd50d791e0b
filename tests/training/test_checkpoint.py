"""The checkpoint file: whole or the old one, and never taken for another run's."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from marginface.errors import CheckpointMismatchError, CheckpointWriteError, NonFiniteLossError
from marginface.training.checkpoint import (
    Checkpoint,
    check_same_run,
    copy_tensors,
    read_checkpoint,
    write_checkpoint,
)


def some_checkpoint(step: int = 3, value: float = 1.0) -> Checkpoint:
    return Checkpoint(
        step=step,
        tensors={"weight": torch.full((2, 3), value), "state": torch.get_rng_state()},
        identity={"seed": 0, "loss.name": "arcface"},
        progress={"seconds": 0.1 + 0.2, "window": {"loss": 1 / 3}},
    )


def test_what_was_written_is_read_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    strided = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    written = some_checkpoint()
    written.tensors["strided"] = strided
    write_checkpoint(path, written)
    found = read_checkpoint(path)
    assert (found.step, found.identity, found.progress) == (3, written.identity, written.progress)
    for name, tensor in written.tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor, rtol=0, atol=0, check_stride=False)


def test_a_full_disk_leaves_the_last_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, some_checkpoint(step=3))

    def fill_disk(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("marginface.files.os.fsync", fill_disk)
    with pytest.raises(CheckpointWriteError, match=r"No space left on device.*untouched"):
        write_checkpoint(path, some_checkpoint(step=4))
    monkeypatch.undo()
    assert read_checkpoint(path).step == 3
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_nan_is_never_saved(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, some_checkpoint(step=3))
    with pytest.raises(
        NonFiniteLossError, match="weight holds NaN or infinite values after step 4"
    ):
        write_checkpoint(path, some_checkpoint(step=4, value=float("nan")))
    assert read_checkpoint(path).step == 3


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, some_checkpoint())
    whole = path.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointMismatchError, match="must be a whole checkpoint, got"):
            read_checkpoint(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointMismatchError, match="got a foreign file"):
        read_checkpoint(path)
    save_file({"a": torch.zeros(1)}, path, {"marginface": json.dumps({"kind": "model"})})
    with pytest.raises(
        CheckpointMismatchError, match="must be a checkpoint of marginface, got mod"
    ):
        read_checkpoint(path)
    newer = json.dumps({"kind": "checkpoint", "format": 99})
    save_file({"a": torch.zeros(1)}, path, {"marginface": newer})
    with pytest.raises(CheckpointMismatchError, match="must have checkpoint format 1, got 99"):
        read_checkpoint(path)


def test_another_run_is_refused_with_what_differs() -> None:
    path = Path("runs/x/checkpoint.safetensors")
    there = {"backbone.name": "iresnet18", "seed": 0, "freeze": []}
    here = {"backbone.name": "iresnet_tiny", "seed": 0, "loss.name": "arcface", "freeze": []}
    with pytest.raises(CheckpointMismatchError) as refused:
        check_same_run(path, there, here)
    message = str(refused.value)
    assert "backbone.name is 'iresnet18' there and 'iresnet_tiny' here" in message
    assert "loss.name is 'absent' there and 'arcface' here" in message
    assert "seed" not in message
    check_same_run(path, here, dict(here))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"a": torch.zeros(2), "b": torch.zeros(1)}, r"got a \(2,\) float32 there and \(3,\)"),
        ({"a": torch.ones(3)}, r"got b absent there and \(1,\) float32 here"),
        ({"a": torch.ones(3), "b": torch.ones(1), "c": torch.ones(1)}, r"got c .*absent here"),
        ({"a": torch.ones(3), "b": torch.ones(1).double()}, "float64 there"),
    ],
)
def test_tensors_that_do_not_fit_change_nothing(found: dict[str, Any], message: str) -> None:
    live = {"a": torch.zeros(3), "b": torch.zeros(1)}
    with pytest.raises(CheckpointMismatchError, match=message):
        copy_tensors(Path("x"), found, live)
    assert not any(tensor.any() for tensor in live.values())
