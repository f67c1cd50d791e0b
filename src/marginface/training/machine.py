"""How fast this machine is at what a training step does, and how much memory it has to give."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from marginface.training.head_cost import HeadCost, Work

# Larger than the caches of a processor, in numbers of float32.
BEYOND_CACHE = 1 << 24
# How much of a walk is timed, and with how many rows at most.
CHUNKS, ROWS = 4, 256
STATUS = Path("/proc/self/status")
MEMORY = Path("/proc/meminfo")
CONTROL_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What this machine does in a second.

    Args:
        product_flops: Multiplications and additions in matrix products of the head's shape.
        rounded_flops: The same of bfloat16 numbers.
        passes: Numbers read, changed and written in blocks that fit into a cache.
        streamed_bytes: Bytes from or to main memory.
        fresh_bytes: Bytes of new memory taken from the system.
    """

    product_flops: float
    rounded_flops: float
    passes: float
    streamed_bytes: float
    fresh_bytes: float

    def seconds(self, work: Work) -> float:
        """Return how long some work takes."""
        flops = self.rounded_flops if work.is_rounded else self.product_flops
        return (
            work.product_flops / flops
            + work.passes / self.passes
            + work.streamed_bytes / self.streamed_bytes
            + work.fresh_bytes / self.fresh_bytes
        )


def measure_speed(cost: HeadCost, device: str) -> Speed:
    """Time a chunk of the head's work, some two seconds in all.

    Args:
        cost: The head, for the shape of its products.
        device: Where it runs.
    """
    rows, chunk = min(cost.rows, ROWS), min(2048, max(cost.visited, 64))
    plain = torch.float64 if cost.number_bytes > 4 else torch.float32
    streamed, fresh = _speed_of_memory(device)
    return Speed(
        product_flops=_product_flops(rows, chunk, cost.dim, plain, device),
        rounded_flops=_product_flops(rows, chunk, cost.dim, torch.bfloat16, device),
        passes=_passes(rows, chunk, plain, device),
        streamed_bytes=streamed,
        fresh_bytes=fresh,
    )


def _product_flops(rows: int, chunk: int, dim: int, kind: torch.dtype, device: str) -> float:
    """Time the three shapes of product of a walk, over vectors that no cache holds."""
    features = torch.ones(rows, dim, device=device, dtype=kind)
    vectors = torch.ones(CHUNKS, chunk, dim, device=device, dtype=kind)
    block = torch.empty(rows, chunk, device=device, dtype=kind)
    back, part = torch.zeros_like(features), torch.empty_like(vectors)

    def products() -> None:
        for some, gradient in zip(vectors, part, strict=True):
            torch.mm(features, some.T, out=block)
            back.addmm_(block, some)
            torch.mm(block.T, features, out=gradient)

    return CHUNKS * 6 * rows * chunk * dim / usual_seconds(products, device, rounds=5)


def _passes(rows: int, chunk: int, kind: torch.dtype, device: str) -> float:
    terms = torch.ones(rows, chunk, device=device, dtype=kind)
    pooled, found = torch.ones(rows, 1, device=device, dtype=kind), torch.empty_like(terms)

    def passes() -> None:
        torch.sub(terms, pooled, out=found).exp_().mul_(pooled)

    return 3 * rows * chunk / usual_seconds(passes, device)


def _speed_of_memory(device: str) -> tuple[float, float]:
    """Return bytes a second through large tensors, and of memory that is new."""
    one, other = (torch.zeros(BEYOND_CACHE, device=device) for _ in range(2))
    streamed = 12 * BEYOND_CACHE / usual_seconds(lambda: one.add_(other), device)
    spent = usual_seconds(lambda: torch.empty(BEYOND_CACHE, device=device).zero_(), device)
    faults = spent - 4 * BEYOND_CACHE / streamed
    return streamed, 4 * BEYOND_CACHE / max(faults, 1e-6)


def usual_seconds(call: Callable[[], object], device: str, *, rounds: int = 7) -> float:
    """Return the median time of some rounds after one that warms up."""
    call()
    return median(seconds_of(call, device) for _ in range(rounds))


def seconds_of(call: Callable[[], object], device: str) -> float:
    """Return how long a call takes.

    On one thread of the processor the CPU seconds count, which busy neighbours do not change.
    """
    is_on_gpu = torch.device(device).type == "cuda"
    is_alone = not is_on_gpu and torch.get_num_threads() == 1
    clock = time.process_time if is_alone else time.perf_counter
    if is_on_gpu:
        torch.cuda.synchronize(device)
    start = clock()
    call()
    if is_on_gpu:
        torch.cuda.synchronize(device)
    return max(clock() - start, 1e-9)


def free_bytes(device: str) -> int | None:
    """Return the memory that a run could still take; None where this machine does not tell."""
    kind = torch.device(device).type
    if kind == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) if torch.cuda.is_available() else None
    if kind != "cpu" or not MEMORY.is_file():
        return None
    return min(_field(MEMORY, "MemAvailable"), _left_in_control_group())


def own_bytes() -> int:
    """Return what this process holds now: the interpreter and its libraries, above all torch."""
    return _field(STATUS, "VmRSS") if STATUS.is_file() else 0


def _field(path: Path, name: str) -> int:
    """Return a line of a file of the kernel, in bytes."""
    lines = path.read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


def _left_in_control_group() -> int:
    """Return what a container has left, a very large number without one."""
    limit, used = CONTROL_GROUP / "memory.max", CONTROL_GROUP / "memory.current"
    if not (limit.is_file() and used.is_file()) or limit.read_text().strip() == "max":
        return sys.maxsize
    return max(0, int(limit.read_text()) - int(used.read_text()))


def cores() -> int:
    """Return the processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
