"""One number per row from all other classes, by plain autograd over the whole matrix.

    pooled_i = log Σ_{j≠y_i} e^{t_ij}   or   Σ_{j≠y_i} t_ij,     t_ij = loss.others(cos θ_ij)

`marginface.heads.streaming` does the same chunk by chunk.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch

from marginface.axes import Float, Int, Tensor
from marginface.heads.own_places import OwnPlaces
from marginface.heads.updates import WalkUpdate
from marginface.losses.base import Loss, OwnClass
from marginface.sphere import normalise


@dataclass(frozen=True, slots=True)
class Rows:
    """What walks over the classes: the samples, and below them the proxy rows if there are any.

    Args:
        embeddings: Unit vectors, shape (rows, dim).
        labels: Place of each row's own class among those walked over, which its pool leaves out;
            -1 if it is not among them, shape (rows,).
        own: What is known of each row.
    """

    embeddings: Tensor
    labels: Tensor
    own: OwnClass


def gather_own(
    prototypes: Float[Tensor, "classes dim"],
    labels: Int[Tensor, " batch"],
    update: WalkUpdate | None = None,
) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "classes dim"]]:
    """Return each row's own prototype, and all prototypes for the pool of the same batch.

    Indexing alone would send back a second gradient of classes × dim, nearly all of it zero. Here
    the own rows' gradient is added into the pool's, so the second result must be used, and once.

    Args:
        prototypes: Raw vectors.
        labels: Row of each sample's own prototype, -1 for zeros in its place.
        update: Where the gradient ends, if the classes move in the walk.
    """
    return _GatherOwn.apply(prototypes, labels, update)  # type: ignore[no-untyped-call]


class _GatherOwn(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, prototypes: Tensor, labels: Tensor, update: WalkUpdate | None
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(labels)
        ctx.update = update
        ctx.set_materialize_grads(update is None)
        is_here = labels >= 0
        own = prototypes.new_zeros(len(labels), prototypes.shape[1])
        own[is_here] = prototypes[labels[is_here]]
        return own, prototypes.view_as(prototypes)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        to_own, to_all = gradients
        (labels,) = ctx.saved_tensors
        if ctx.update is not None:
            ctx.update.finish(labels, to_own)
            return None, None, None
        is_here = labels >= 0
        return to_all.index_add_(0, labels[is_here], to_own[is_here]), None, None


def pool_dense(
    loss: Loss, rows: Rows, prototypes: Float[Tensor, "classes dim"]
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " sums"]]:
    """Pool all classes at once; return pools and sums."""
    embeddings, labels = rows.embeddings, rows.labels
    cosines = embeddings @ normalise(prototypes.to(embeddings.dtype)).T
    sums = embeddings.new_zeros(loss.class_sums)
    if loss.class_sums:
        sums = loss.class_terms(cosines, OwnPlaces(labels).mask(cosines, 0), rows.own)
    terms = loss.others(cosines, rows.own)
    if loss.pool == "sum":
        return without_own(terms, labels, 0.0).sum(dim=1), sums
    return without_own(terms, labels, -math.inf).logsumexp(dim=1), sums


def without_own(
    values: Float[Tensor, "rows classes"], labels: Int[Tensor, " rows"], fill: float
) -> Float[Tensor, "rows classes"]:
    """Return the values with `fill` at each row's own class, if it is here."""
    (rows,) = torch.where(labels >= 0)
    fills = values.new_full((len(rows),), fill)
    return values.index_put((rows, labels[rows]), fills)
