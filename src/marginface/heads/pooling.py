"""The pool over the classes: of this process or of all, dense or streamed, all classes or some."""

from dataclasses import replace

import torch
import torch.distributed as dist

from marginface.axes import Float, Tensor
from marginface.heads.dense import Rows, pool_dense
from marginface.heads.sharding import enter, leave_logsumexp, leave_sum
from marginface.heads.streaming import Pooling, pool_streamed
from marginface.losses.base import Loss


def pool_classes(
    loss: Loss,
    rows: Rows,
    prototypes: Float[Tensor, "classes dim"],
    how: Pooling,
    group: dist.ProcessGroup | None,
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " sums"]]:
    """Return the pool of each row over all classes, and the sums of terms of classes.

    Args:
        loss: What to pool.
        rows: Samples and proxy rows, alike on all processes; labels by row of `prototypes`.
        prototypes: Raw vectors of the classes held here.
        how: The switches.
        group: The processes that hold the classes; None for this one alone.
    """
    if how.visited is not None:
        places = torch.searchsorted(how.visited, rows.labels)
        rows = replace(rows, labels=torch.where(rows.labels < 0, -1, places))
    if group is not None:
        rows = _enter(rows, group)
    if how.is_dense:
        chosen = prototypes if how.visited is None else prototypes[how.visited]
        pooled, sums = pool_dense(loss, rows, chosen)
    else:
        pooled, sums = pool_streamed(loss, rows, prototypes, how)
    if group is None:
        return pooled, sums
    leave = leave_sum if loss.pool == "sum" else leave_logsumexp
    return leave(pooled, group), leave_sum(sums, group)


def count_pooled(classes: int, visited: Tensor | None, group: dist.ProcessGroup | None) -> int:
    """Return how many of all classes the pool is over, on all processes together."""
    if visited is None:
        return classes
    here = visited.new_tensor(len(visited))
    return int(here if group is None else leave_sum(here, group))


def _enter(rows: Rows, group: dist.ProcessGroup) -> Rows:
    own = rows.own
    inputs = [rows.embeddings, own.cosine, own.norms]
    if own.prepared is not None:
        inputs.append(own.prepared)
    embeddings, cosine, norms, *prepared = enter(group, *inputs)
    own = replace(own, cosine=cosine, norms=norms, prepared=prepared[0] if prepared else None)
    return replace(rows, embeddings=embeddings, own=own)
