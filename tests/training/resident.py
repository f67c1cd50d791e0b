"""What a step really takes: resident memory, in a process of its own.

In a process that has run other tests the allocator holds their gaps, and hands them out: the same
step took a third more there than in a fresh one. Jobs for `tests.processes.run_on`.
"""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch.optim import SGD

from marginface.backbones import make_backbone
from marginface.heads import IdentityHead
from marginface.losses import make_loss

STATUS, PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
REPEATS = 3


def bytes_of_head_step(
    loss: str,
    rows: int,
    classes: int,
    dim: int,
    chunk: int | None,
    precision: str,
    updates_in_walk: bool,
) -> int:
    """Return the bytes of a pass and descent above class vectors and momentum."""
    made = IdentityHead(classes, dim, make_loss(loss), chunk=chunk, precision=precision)
    descent = SGD(made.parameters(), lr=1e-6, momentum=0.9, fused=True)
    for weight in made.parameters():
        descent.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    if updates_in_walk:
        made.update_in_walk(descent)
    features, labels = torch.randn(rows, dim), torch.randint(classes, (rows,))

    def step() -> None:
        made(features.requires_grad_(), labels).backward()
        descent.step()
        descent.zero_grad(set_to_none=True)

    return extra_bytes(step)


def bytes_of_backbone_step(name: str, dim: int, pictures: int, input_size: int) -> int:
    """Return the bytes of a pass above the weights."""
    backbone = make_backbone(name, dim=dim, input_size=input_size)
    inputs = torch.zeros(pictures, 3, input_size, input_size)

    def step() -> None:
        backbone(inputs).sum().backward()
        backbone.zero_grad(set_to_none=True)

    return extra_bytes(step)


def extra_bytes(call: Callable[[], object]) -> int:
    """Return the peak of resident memory above what stood before: the median of a few calls."""
    call()
    return int(median(_extra_bytes(call) for _ in range(REPEATS)))


def _extra_bytes(call: Callable[[], object]) -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    PEAK.write_text("5")  # the peak starts again from here
    before = _resident("VmRSS")
    call()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    lines = STATUS.read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(field)))
