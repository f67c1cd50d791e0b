"""What each process of a group does for `test_processes` and `test_lost_processes`."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from marginface.errors import CheckpointMismatchError
from marginface.training import (
    TrainConfig,
    TrainingInterrupted,
    checkpoint,
    describe,
    loop,
    shards,
    start,
    train,
)
from marginface.training.batch_norm import share_batch_statistics
from marginface.training.checkpoint import Checkpoint, all_checkpoints, copy_tensors, read_state
from marginface.training.gradients import mean_in_order
from marginface.training.processes import Processes
from tests.training.deaths import die_at, die_in_passing
from tests.training.tiny import NaNOnDark

CLASSES = 5
PATIENCE_S = 300


class HungError(Exception):
    """This process did not move for a while."""


def here() -> Processes:
    return Processes(rank=dist.get_rank(), size=dist.get_world_size())


def train_each(runs: list[tuple[dict[str, Any], Path]]) -> list[float | None]:
    """Train one run after the other; return their last losses."""
    return [train(TrainConfig.from_dict(told), folder).final_loss for told, folder in runs]


def train_a_step(told: dict[str, Any], folder: Path) -> str:
    """Train until the last process alone is asked to stop, in its first step; return the words."""
    original = loop.take_step

    def asked(*arguments: Any, **options: Any) -> Any:
        if dist.get_rank() == dist.get_world_size() - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments, **options)

    loop.take_step = asked
    try:
        train(TrainConfig.from_dict(told), folder)
    except TrainingInterrupted as stop:
        return str(stop)
    return ""


def watched(told: dict[str, Any], folder: Path) -> list[int]:
    """Train with a validation that draws; return the steps at which this process was asked."""
    asked = []

    def validate(step: int, backbone: nn.Module) -> dict[str, float]:
        assert not backbone.training
        asked.append(step)
        return {"drawn": float(torch.rand(()))}

    train(TrainConfig.from_dict(told), folder, validate=validate, validate_every=4)
    return asked


def error_of(
    told: list[dict[str, Any]], folder: Path, versions: list[str] | None = None
) -> tuple[str, str]:
    """Train by one's own config and under one's own version; return kind and text of the error."""
    if versions is not None:
        describe.versions = lambda: {"marginface": versions[dist.get_rank()]}
    try:
        train(TrainConfig.from_dict(told[dist.get_rank()]), folder)
    except Exception as error:
        return type(error).__name__, str(error)
    return "", ""


def meet_nan(told: dict[str, Any], folder: Path) -> tuple[str, str]:
    """Train a network that gives NaN for one picture; return what this process says."""
    start.make_backbone = lambda *names, **options: NaNOnDark()
    return error_of([told] * dist.get_world_size(), folder)


def die_after(step: int, share: float, rank: int, told: dict[str, Any], folder: Path) -> None:
    """Train, and let the system kill one process a while after its nth step has begun."""
    if dist.get_rank() == rank:
        die_in_passing(step, share)
    train(TrainConfig.from_dict(told), folder)


def die_in(place: str, number: int, rank: int, told: dict[str, Any], folder: Path) -> None:
    """Train, and let one process kill itself when it comes to a place for the nth time."""
    if dist.get_rank() == rank:
        die_at(place, number)
    train(TrainConfig.from_dict(told), folder)


def wait_in_vain(told: dict[str, Any], folder: Path, port: int) -> str:
    """Train in a group whose last process moves no more until the first has given up on it.

    The group is one of its own, at the store that listens on a port.
    """
    rank, size = dist.get_rank(), dist.get_world_size()
    dist.destroy_process_group()
    place = {
        **{"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
        "TORCHELASTIC_USE_AGENT_STORE": True,
    }
    os.environ.update({name: str(value) for name, value in place.items()})
    original, given_up = loop.take_step, folder / "given-up"

    def slow(*arguments: Any, **options: Any) -> Any:
        if rank == size - 1:
            deadline = time.monotonic() + PATIENCE_S
            while not given_up.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            raise HungError
        return original(*arguments, **options)

    loop.take_step = slow
    text = ""
    try:
        train(TrainConfig.from_dict(told), folder)
    except HungError:
        text = "it hung"
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        given_up.touch()
    # The caller leaves a group after this.
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    return text


def tensors_of_step() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return what a run holds, whole: split by rows, and alike in all."""
    generator = torch.Generator().manual_seed(1)
    vectors = {name: torch.randn(CLASSES, 3, generator=generator) for name in ("vectors", "speed")}
    return vectors, {"weight": torch.randn(2, 2, generator=generator), "steps": torch.tensor(9)}


def rows_here(whole: Tensor) -> Tensor:
    """Return the rows `torch.chunk` gives this process, which may be none."""
    share = -(-len(whole) // here().size)
    return whole[here().rank * share : (here().rank + 1) * share].clone()


def save(folder: Path) -> None:
    """Write a checkpoint, each process its own rows."""
    vectors, alike = tensors_of_step()
    mine = {name: rows_here(whole) for name, whole in vectors.items()}
    random = {f"random/cpu/{here().rank}": torch.full((4,), here().rank, dtype=torch.uint8)}
    written = Checkpoint(
        step=9,
        tensors=mine | alike | random,
        identity={"seed": 3},
        progress={},
        split=dict.fromkeys(vectors, CLASSES),
    )
    checkpoint.write_checkpoint(folder, written, here())


def load(folders: list[Path]) -> int:
    """Read checkpoints of any number of processes, and compare them with what was written."""
    vectors, alike = tensors_of_step()
    wanted = {name: rows_here(whole) for name, whole in vectors.items()} | alike
    for folder in folders:
        (path,) = all_checkpoints(folder)
        assert read_state(path).identity == {"seed": 3}
        live = {name: torch.zeros_like(item) for name, item in wanted.items()}
        copy_tensors(path, live, dict.fromkeys(vectors, CLASSES), here())
        for name, item in live.items():
            torch.testing.assert_close(item, wanted[name], rtol=0, atol=0)
    return len(folders)


def checks(folder: Path) -> tuple[list[str], str, bool]:
    """Read a checkpoint; return what this process summed up, was told, and whether it changed."""
    vectors, alike = tensors_of_step()
    live = {name: rows_here(whole) for name, whole in vectors.items()} | alike
    live = {name: torch.full_like(item, 7) for name, item in live.items()}
    summed, original = [], shards.checksum

    def counted(tensor: Tensor) -> int:
        summed.append(str(tuple(tensor.shape)))
        return original(tensor)

    shards.checksum = counted
    told = ""
    try:
        copy_tensors(all_checkpoints(folder)[-1], live, dict.fromkeys(vectors, CLASSES), here())
    except CheckpointMismatchError as error:
        told = str(error)
    shards.checksum = original
    return summed, told, all(bool((item == 7).all()) for item in live.values())


def nan_in_last() -> str:
    """Try to save when the last process alone holds NaN; return what all are told."""
    value = float("nan") if here().rank == here().size - 1 else 0.0
    written = Checkpoint(step=1, tensors={"w": torch.tensor(value)}, identity={}, progress={})
    try:
        checkpoint.write_checkpoint(Path("nowhere"), written, here())
    except Exception as error:
        return str(error)
    return ""


def normalised(make: Callable[[], nn.Module], whole: Tensor, sizes: list[int]) -> dict[str, Tensor]:
    """Return result, gradients and statistics of layers that each see a part of the rows."""
    network = make()
    rank = dist.get_rank() if dist.is_initialized() else 0
    if dist.is_initialized():
        share_batch_statistics(network)
        first = sum(sizes[:rank])
        whole = whole[first : first + sizes[rank]]
    leaf = whole.clone().requires_grad_()
    for _ in range(2):
        result = network(leaf)
    # Uneven in rows and channels, so that no term of the gradient is zero.
    (result * result.detach().cos() + result**2 / 3).sum().backward()
    found = {f"gradient of {name}": item.grad for name, item in network.named_parameters()}
    assert leaf.grad is not None
    return {
        "result": result.detach(),
        "gradient": leaf.grad,
        **{name: item for name, item in found.items() if item is not None},
        **{f"state {name}": item.detach() for name, item in network.state_dict().items()},
    }


def mean_of_ranks(length: int) -> tuple[Tensor, Tensor]:
    """Return the mean of a random tensor of each process, and that of its mirror image."""
    generator = torch.Generator().manual_seed(dist.get_rank())
    mine = torch.randn(length, generator=generator) * 10 ** torch.randn(length, generator=generator)
    return mean_in_order(mine), mean_in_order(mine.flip(0))
