"""The pool over the classes: of this process or of all, dense or streamed, all classes or some."""

from dataclasses import dataclass, replace

import torch
import torch.distributed as dist

from marginface.axes import Float, Tensor
from marginface.heads.dense import Rows, pool_dense
from marginface.heads.precision import Precision
from marginface.heads.sharding import enter, leave_logsumexp, leave_sum
from marginface.heads.streaming import Streaming, pool_streamed
from marginface.heads.updates import WalkUpdate
from marginface.losses.base import Loss

# Streaming where nobody said how: fewer cost more calls, more leave the processor's cache.
CHUNK = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooling:
    """How to pool.

    Args:
        chunk: Classes at a time; None for all at once, unless something below needs a walk.
        precision: Of the products.
        visited: Which of the classes held here, rising; None for all.
        update: Moves the classes on the way back; None to return their gradient.
        expected_slope: What backward will probably multiply every row with.
        group: The processes that hold the classes; None for this one alone.
    """

    chunk: int | None
    precision: Precision
    visited: Tensor | None
    update: WalkUpdate | None
    expected_slope: float
    group: dist.ProcessGroup | None

    @property
    def is_dense(self) -> bool:
        """Whether plain autograd over the whole matrix does it."""
        return self.chunk is None and self.precision.is_plain and self.update is None

    def count(self, classes: int) -> int:
        """Return how many of all classes the pool is over, on all processes together."""
        if self.visited is None:
            return classes
        here = self.visited.new_tensor(len(self.visited))
        return int(here if self.group is None else leave_sum(here, self.group))


def pool_classes(
    loss: Loss, rows: Rows, prototypes: Float[Tensor, "classes dim"], how: Pooling
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " sums"]]:
    """Return the pool of each row over all classes, and the sums of terms of classes.

    Args:
        loss: What to pool.
        rows: Samples and proxy rows, alike on all processes; labels by row of `prototypes`.
        prototypes: Raw vectors of the classes held here.
        how: The switches.
    """
    if how.visited is not None:
        places = torch.searchsorted(how.visited, rows.labels)
        rows = replace(rows, labels=torch.where(rows.labels < 0, -1, places))
    if how.group is not None:
        rows = _enter(rows, how.group)
    if how.is_dense:
        chosen = prototypes if how.visited is None else prototypes[how.visited]
        pooled, sums = pool_dense(loss, rows, chosen)
    else:
        streaming = Streaming(
            chunk=how.chunk or CHUNK,
            precision=how.precision,
            visited=how.visited,
            update=how.update,
            expected_slope=how.expected_slope,
        )
        pooled, sums = pool_streamed(loss, rows, prototypes, streaming)
    if how.group is None:
        return pooled, sums
    leave = leave_sum if loss.pool == "sum" else leave_logsumexp
    return leave(pooled, how.group), leave_sum(sums, how.group)


def _enter(rows: Rows, group: dist.ProcessGroup) -> Rows:
    own = rows.own
    inputs = [rows.embeddings, own.cosine, own.norms]
    if own.prepared is not None:
        inputs.append(own.prepared)
    embeddings, cosine, norms, *prepared = enter(group, *inputs)
    own = replace(own, cosine=cosine, norms=norms, prepared=prepared[0] if prepared else None)
    return replace(rows, embeddings=embeddings, own=own)
