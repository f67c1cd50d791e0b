"""One optimiser step: gradients of a whole batch in micro-batches, checked before they are used.

    gradient = (1/N) Σ over all labelled rows of the batch, N their number

whatever the number of micro-batches, and of processes. The backbone may run under bf16 autocast;
features are float32 before they meet the head.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from marginface.axes import Float, Int, Tensor, UInt8
from marginface.data import to_float
from marginface.heads import IdentityHead
from marginface.training.branch import Branch, watching
from marginface.training.processes import ALONE, Processes


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """What one step saw.

    Args:
        loss: Mean over the labelled rows of the batch.
        gradient_norm: Length of the backbone's gradient before clipping.
        statistics: What the head tells, as means over the batch.
        broken_rows: Rows whose feature is NaN or infinite, by position in the batch.
        is_finite: Whether loss and gradients are; if not, no weight was changed, save class vectors
            that move in the walk, where the loss was finite.
    """

    loss: float
    gradient_norm: float
    statistics: dict[str, float]
    broken_rows: list[int]
    is_finite: bool


def take_step(
    backbone: nn.Module,
    head: IdentityHead,
    optimizer: Optimizer,
    images: UInt8[Tensor, "batch 3 height width"],
    labels: Int[Tensor, " batch"],
    *,
    processes: Processes = ALONE,
    accumulate: int = 1,
    clip_norm: float | None = None,
    uses_bf16: bool = False,
    channels_last: bool = False,
    branch: Branch | None = None,
    share: float = 0.0,
) -> StepOutcome:
    """Compute the gradient of the batch and move the weights, unless anything is not finite.

    Args:
        backbone: The network, in the mode it is to be trained in; on several processes the one
            that averages its gradient over them.
        head: Called with features, labels and `reduction="sum"`.
        optimizer: Its rates are set already.
        images: The batch as stored, on the network's device; of several processes each has its
            part.
        labels: -1 is left out.
        processes: Those that take the step together.
        accumulate: Micro-batches to split the batch into.
        clip_norm: Largest norm of the backbone's gradient; nothing for no limit.
        uses_bf16: Whether the backbone runs under autocast.
        channels_last: Whether images are laid out with channels innermost.
        branch: The reconstruction beside the recogniser; nothing for none.
        share: Share of the run that is done, which its ramp goes by.
    """
    optimizers: list[Optimizer] = [optimizer] if branch is None else [optimizer, branch.optimizer]
    for one in optimizers:
        one.zero_grad(set_to_none=True)
    labelled = max(1.0, processes.total(float((labels >= 0).sum()))[0])
    loss, statistics, row = 0.0, dict[str, float](), 0
    parts = zip(images.chunk(accumulate), labels.chunk(accumulate), strict=True)
    for some_images, some_labels in parts:
        part = len(some_labels) / len(labels)
        inputs = _inputs(some_images, head, channels_last=channels_last)
        autocast = torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=uses_bf16)
        with _averaging(backbone, is_last=row + len(some_labels) == len(labels)):
            with autocast, watching(branch) as seen:
                features = backbone(inputs).to(head.prototypes.dtype)
            _undo_mean(features, processes)
            value = head(features, some_labels, reduction="sum") / labelled
            terms = dict(head.last_statistics)
            if branch is not None:
                extra = branch.terms(inputs, some_labels, seen, head, share=share)
                value = sum((part * term for term in extra.values()), value)
                terms |= extra
            _add_statistics(statistics, terms, share=part)
            loss += float(value.detach())
            if not math.isfinite(loss):
                return _not_finite(loss, math.nan, _broken_rows(features, first=row))
            value.backward()
        row += len(some_labels)
    gradient_norm = _clip(backbone, clip_norm)
    judged = [head] if branch is None else [head, branch.networks]
    is_finite = math.isfinite(gradient_norm) and all(map(_has_finite_gradients, judged))
    if any(processes.highest(not is_finite)):
        return _not_finite(loss, gradient_norm, [])
    for one in optimizers:
        one.step()
    return StepOutcome(
        loss=loss,
        gradient_norm=gradient_norm,
        statistics=statistics,
        broken_rows=[],
        is_finite=True,
    )


def _inputs(
    images: UInt8[Tensor, "batch 3 height width"], head: IdentityHead, *, channels_last: bool
) -> Tensor:
    inputs = to_float(images).to(head.prototypes.dtype)
    return inputs.contiguous(memory_format=torch.channels_last) if channels_last else inputs


@contextmanager
def _averaging(backbone: nn.Module, *, is_last: bool) -> Iterator[None]:
    """Let the gradients of several processes meet once a step, after its last micro-batch."""
    if isinstance(backbone, DistributedDataParallel) and not is_last:
        with backbone.no_sync():
            yield
    else:
        yield


def _undo_mean(features: Tensor, processes: Processes) -> None:
    """Multiply their gradient by the number of processes, over which it will be averaged.

    The head gives each process the gradient of one value, the mean over all rows of all processes;
    so the backbone's is the sum of what the processes find, and not its mean.
    """
    if processes.size > 1 and features.requires_grad:
        features.register_hook(lambda gradient: gradient * processes.size)  # type: ignore[no-untyped-call]


def _clip(backbone: nn.Module, limit: float | None) -> float:
    limit = math.inf if limit is None else limit
    return float(nn.utils.clip_grad_norm_(backbone.parameters(), limit))


def _not_finite(loss: float, gradient_norm: float, broken_rows: list[int]) -> StepOutcome:
    return StepOutcome(
        loss=loss,
        gradient_norm=gradient_norm,
        statistics={},
        broken_rows=broken_rows,
        is_finite=False,
    )


def _broken_rows(features: Float[Tensor, "batch dim"], *, first: int) -> list[int]:
    rows = ~torch.isfinite(features).all(dim=1)
    return [first + int(row) for row in rows.nonzero().flatten()]


def _has_finite_gradients(module: nn.Module) -> bool:
    gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
    return all(math.isfinite(float(torch.linalg.vector_norm(item))) for item in gradients)


def _add_statistics(sums: dict[str, float], found: dict[str, Tensor], *, share: float) -> None:
    for name, value in found.items():
        sums[name] = sums.get(name, 0.0) + share * float(value.detach())
