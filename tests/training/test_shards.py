"""Files of a checkpoint: what was written is what is read, and a spoilt byte is told."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from marginface.errors import CheckpointMismatchError
from marginface.training import train
from marginface.training.checkpoint import all_checkpoints
from marginface.training.export import export_model
from marginface.training.processes import ALONE
from marginface.training.shards import BrokenFileError, kinds, read_into, write
from tests.processes import run_on
from tests.training import together
from tests.training.tiny import newest, tiny_config

TENSORS = {
    "scalar": torch.tensor(1.5),
    "wide": torch.arange(6.0).reshape(2, 3),
    "turned": torch.arange(6.0).reshape(2, 3).T,
    "short": torch.tensor([1.0, -2.0], dtype=torch.bfloat16),
    "none": torch.empty(0, 3),
    "flags": torch.tensor([True, False, True]),
}


def spoil(path: Path, place: int) -> None:
    """Turn one bit over, as a disk does that tells nobody."""
    stored = bytearray(path.read_bytes())
    stored[place] ^= 1
    path.write_bytes(stored)


def places_in(path: Path) -> tuple[int, dict[str, Any]]:
    """Return where the data of a file begins, and its header."""
    stored = path.read_bytes()
    data = 8 + int.from_bytes(stored[:8], "little")
    return data, json.loads(stored[8:data])


def test_every_kind_of_tensor_comes_back(tmp_path: Path) -> None:
    write(tmp_path, TENSORS, {}, ALONE)
    assert kinds(tmp_path)["short"] == ((2,), torch.bfloat16)
    found = {name: torch.zeros_like(item) for name, item in TENSORS.items()}
    read_into(tmp_path, found, {}, ALONE)
    for name, item in TENSORS.items():
        assert torch.equal(found[name], item), name


def test_a_bit_turned_over_anywhere_in_the_data_is_told(tmp_path: Path) -> None:
    write(tmp_path, TENSORS, {}, ALONE)
    (path,) = tmp_path.iterdir()
    for place in range(places_in(path)[0], path.stat().st_size):
        spoil(path, place)
        found = {name: torch.zeros_like(item) for name, item in TENSORS.items()}
        with pytest.raises(BrokenFileError, match=f"^{path.name} holds other bytes of .* than"):
            read_into(tmp_path, found, {}, ALONE)
        assert not any(item.any() for item in found.values()), "nothing is read then"
        spoil(path, place)


def test_what_is_not_read_is_not_checked(tmp_path: Path) -> None:
    write(tmp_path, TENSORS, {}, ALONE)
    (path,) = tmp_path.iterdir()
    spoil(path, path.stat().st_size - 1)  # in the flags, the narrowest and so the last
    read_into(tmp_path, {"wide": torch.zeros(2, 3)}, {}, ALONE)


def test_a_spoilt_checkpoint_is_neither_gone_on_from_nor_exported(
    pack: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_on(2, together.train_a_step, tiny_config(pack).to_dict(), run)
    told = f"{newest(run)} must be a whole checkpoint, got a broken file .shard-0000"
    of_backbone, of_classes = sorted(newest(run).glob("*.safetensors"))
    spoil(of_classes, of_classes.stat().st_size - 1)
    with pytest.raises(CheckpointMismatchError, match=f"{told}2.* holds other bytes of random/"):
        train(tiny_config(pack), run)
    data, header = places_in(of_backbone)
    averaged = next(item for name, item in header.items() if name.startswith("ema/module."))
    spoil(of_backbone, data + averaged["data_offsets"][0])
    with pytest.raises(CheckpointMismatchError, match=f"{told}1.* holds other bytes of ema/module"):
        export_model(run, tmp_path / "model.safetensors")
    assert len(all_checkpoints(run)) == 1
    assert not (tmp_path / "model.safetensors").exists()
