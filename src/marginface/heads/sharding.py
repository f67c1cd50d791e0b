"""What crosses processes when each holds a slice of the classes.

The batch of all processes is gathered, and what is known of its rows is computed on every process
alike. Only the pool over the classes is split, so two doors are enough:

    enter   into the slices: nothing happens forward, backward adds up what the slices send back
    leave   out of them: forward adds up what the slices found, backward hands each its share

Process r of n holds K = ⌈classes / n⌉ classes from r·K on, the last ones fewer or none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from marginface.axes import Float, Int, Tensor

Group = dist.ProcessGroup
_DRAWN_ROWS = 4096


def classes_here(count: int, group: Group | None) -> range:
    """Return the classes this process holds.

    Example:
        >>> classes_here(10, None)
        range(0, 10)
    """
    if group is None:
        return range(count)
    share = -(-count // dist.get_world_size(group))
    first = min(dist.get_rank(group) * share, count)
    return range(first, min(first + share, count))


def drawn_rows(
    count: int, dim: int, kept: range, *, std: float, generator: torch.Generator | None
) -> Float[Tensor, "kept dim"]:
    """Draw a normal matrix of count × dim, and keep some rows without ever holding the others."""
    rows = torch.empty(len(kept), dim)
    for start in range(0, count, _DRAWN_ROWS):
        size = min(_DRAWN_ROWS, count - start)
        drawn = torch.empty(size, dim).normal_(0, std, generator=generator)
        first, last = max(start, kept.start), min(start + size, kept.stop)
        if first < last:
            rows[first - kept.start : last - kept.start] = drawn[first - start : last - start]
    return rows


def gather_labels(labels: Int[Tensor, " batch"], group: Group) -> tuple[Tensor, list[int]]:
    """Return the labels of all processes one after another, and how many each one has."""
    count = torch.tensor([len(labels)], device=labels.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size(group))]
    dist.all_gather(counts, count, group=group)
    sizes = [int(size) for size in counts]
    return _gather_rows(labels, sizes, group), sizes


def gather_classes(rows: Float[Tensor, "here dim"], count: int, group: Group) -> Tensor:
    """Return the class vectors of all processes, without gradient, shape (count, dim)."""
    size = dist.get_world_size(group)
    share = -(-count // size)
    sizes = [max(0, min(share, count - rank * share)) for rank in range(size)]
    return _gather_rows(rows.detach(), sizes, group)


def gather_features(
    features: Float[Tensor, "batch dim"], sizes: list[int], group: Group
) -> Float[Tensor, "all_rows dim"]:
    """Return the features of all processes, rows of `sizes` each; gradients go to their own."""
    return _Gather.apply(features, sizes, group)  # type: ignore[no-untyped-call]


def enter(group: Group, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors that are alike on all processes, to be used with slices of the classes."""
    return _Enter.apply(group, *tensors)  # type: ignore[no-untyped-call]


def leave_sum(part: Tensor, group: Group) -> Tensor:
    """Return the sum over the slices."""
    return _LeaveSum.apply(part, group)  # type: ignore[no-untyped-call]


def leave_logsumexp(part: Float[Tensor, " rows"], group: Group) -> Float[Tensor, " rows"]:
    """Return the logarithm of the sum of the exponentials over the slices."""
    return _LeaveLogSumExp.apply(part, group)  # type: ignore[no-untyped-call]


@contextmanager
def draws_of_first(group: Group | None, device: torch.device) -> Iterator[None]:
    """Draw as process 0 does inside the block; the other processes' generators stay as they are."""
    if group is None:
        yield
        return
    is_first = dist.get_rank(group) == 0
    mine = _random_state(device)
    shared = mine.clone().to(device)
    dist.broadcast(shared, group=group, group_src=0)
    if not is_first:
        _set_random_state(shared.cpu(), device)
    try:
        yield
    finally:
        if not is_first:
            _set_random_state(mine, device)


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def _gather_rows(rows: Tensor, sizes: list[int], group: Group) -> Tensor:
    # Collectives want equal shapes, so every process sends as many rows as the longest.
    longest = max(sizes)
    padded = rows.new_zeros(longest, *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded, group=group)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, sizes: list[int], group: Group) -> Tensor:
        rank = dist.get_rank(group)
        ctx.mine = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        return _gather_rows(features, sizes, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        # What comes back is the same on all processes, and whole.
        return gradients[0][ctx.mine], None, None


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, group: Group, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.group = group
        return tuple(item.view_as(item) for item in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat, group=ctx.group)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        pairs = zip(parts, gradients, strict=True)
        return None, *(part.view_as(gradient) for part, gradient in pairs)


class _LeaveSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, group: Group) -> Tensor:
        total = part.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None


class _LeaveLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, group: Group) -> Tensor:
        highest = part.clone()
        dist.all_reduce(highest, op=dist.ReduceOp.MAX, group=group)
        # A row without any other class at all would give -∞ - -∞.
        shift = torch.where(highest.isfinite(), highest, 0)
        total = torch.exp(part - shift)
        dist.all_reduce(total, group=group)
        pooled = total.log_().add_(shift)
        ctx.save_for_backward(part, pooled)
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        part, pooled = ctx.saved_tensors
        # A slice with nothing but the own class has no share.
        share = torch.where(part.isfinite(), torch.exp(part - pooled), 0)
        return gradients[0] * share, None
