"""A set of faces and a network so small that a whole run takes a second."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import nn

from marginface.data import Augmentation, PackWriter
from marginface.training import (
    BackboneConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from marginface.training.checkpoint import all_checkpoints, read_tensors

IDENTITIES, PICTURES, SIDE = 6, 8, 32


def write_pack(path: Path, *, identities: int = IDENTITIES, pictures: int = PICTURES) -> Path:
    """Write noisy pictures of a few random patterns, one pattern an identity."""
    generator = np.random.default_rng(7)
    with PackWriter(path, size=SIDE, meta={"name": "patterns", "licence": "CC0"}) as writer:
        for person in range(identities):
            pattern = generator.integers(0, 256, (SIDE, SIDE, 3))
            for number in range(1, pictures + 1):
                noisy = pattern + generator.normal(0, 20, pattern.shape)
                name = f"person_{person}/person_{person}_{number:04d}.png"
                writer.add(np.clip(noisy, 0, 255).astype(np.uint8), f"person_{person}", name)
    return path


def tiny_config(pack: Path, **changes: Any) -> TrainConfig:
    """Return a run of 12 steps with everything on that can go wrong on resuming."""
    fields: dict[str, Any] = {
        "data": DataConfig(path=pack, augmentation=Augmentation.adaface()),
        "backbone": BackboneConfig(
            name="iresnet_tiny",
            dim=8,
            input_size=SIDE,
            options={"widths": (4, 4, 8, 8), "dropout": 0.2},
        ),
        "loss": LossConfig(name="elasticface-arc", options={"scale": 16.0}),
        "optimizer": OptimizerConfig(lr=0.05),
        "schedule": ScheduleConfig(kind="cosine", warmup_steps=2),
        "steps": 12,
        "batch_size": 16,
        "accumulate": 2,
        "ema_decay": 0.9,
        "checkpoint_every_steps": 3,
        "checkpoint_every_s": None,
        "log_every": 5,
        "keeps_tensorboard": False,
    }
    return TrainConfig(**(fields | changes))


class NaNOnDark(nn.Module):
    """A network without batch normalisation that fails on a picture with a dark corner."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 8)

    def stages(self) -> list[tuple[str, nn.Module]]:
        return [("all", self.linear)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.linear(images.mean(dim=(2, 3)))
        is_dark = (images[:, :, 0, 0] == -1).all(dim=1, keepdim=True)
        return torch.where(is_dark, torch.nan, features)


def nan_config(path: Path) -> TrainConfig:
    """Write a pack with one dark picture, `person_2/person_2_0005.png`; return a run over it."""
    images = write_pack(path) / "images.bin"
    stored = bytearray(images.read_bytes())
    stored[20 * 32 * 32 * 3 : 20 * 32 * 32 * 3 + 3] = bytes(3)
    images.write_bytes(stored)
    return tiny_config(
        path,
        data=DataConfig(path=path, augmentation=Augmentation(flip=False)),
        ema_decay=None,
        batch_size=4,
        checkpoint_every_steps=1,
        steps=40,
    )


def newest(run_dir: Path) -> Path:
    """Return the newest checkpoint of a run."""
    return all_checkpoints(run_dir)[-1]


def bytes_of(checkpoint: Path) -> dict[str, bytes]:
    """Return the files of a checkpoint."""
    return {path.name: path.read_bytes() for path in checkpoint.iterdir()}


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a model file or of a checkpoint."""
    if path.is_dir():
        return read_tensors(path)
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def assert_same_tensors(path: Path, other: Path) -> None:
    ours, theirs = tensors_of(path), tensors_of(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
