"""One number per row from all other classes: dense, or streamed in slices of the classes.

    pooled_i = log Σ_{j≠y_i} e^{t_ij}   or   Σ_{j≠y_i} t_ij,     t_ij = loss.others(cos θ_ij)

Streamed, a batch × classes matrix never exists: the classes are visited in chunks, twice. Forward
keeps only the running pool. Backward computes each chunk's terms again, differentiates them by
autograd within the chunk, and writes the prototypes' gradient into one buffer. With
g_ij = ∂L/∂cos θ_ij, x̂ and ŵ unit vectors:

    ∂L/∂x̂_i = Σ_j g_ij·ŵ_j,     ∂L/∂w_j = ( Σ_i g_ij·x̂_i - ŵ_j·Σ_i g_ij·cos θ_ij ) / |w_j|

so normalised prototypes are never stored either. The sums of a loss with terms of classes,
`loss.class_terms`, are added up in the same two visits and differentiated beside the terms.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from marginface.axes import Float, Int, Tensor
from marginface.losses.base import Loss, OwnClass
from marginface.sphere import inverse_lengths, normalise


@dataclass(frozen=True, slots=True)
class Rows:
    """What walks over the classes: the samples, and below them the proxy rows if there are any.

    Args:
        embeddings: Unit vectors, shape (rows, dim).
        labels: Own class of each row, which its pool leaves out, shape (rows,).
        own: What is known of each row.
    """

    embeddings: Tensor
    labels: Tensor
    own: OwnClass


def gather_own(
    prototypes: Float[Tensor, "classes dim"], labels: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "classes dim"]]:
    """Return each row's own prototype, and all prototypes for the pool of the same batch.

    Indexing alone would send back a second gradient of classes × dim, nearly all of it zero. Here
    the own rows' gradient is added into the pool's, so the second result must be used, and once.
    """
    return _GatherOwn.apply(prototypes, labels)  # type: ignore[no-untyped-call]


class _GatherOwn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, prototypes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(labels)
        return prototypes[labels], prototypes.view_as(prototypes)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        to_own, to_all = gradients
        (labels,) = ctx.saved_tensors
        return to_all.index_add_(0, labels, to_own), None


def pool_dense(
    loss: Loss, rows: Rows, prototypes: Float[Tensor, "classes dim"]
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " sums"]]:
    """Pool by plain autograd over the whole matrix of rows × classes; return pools and sums."""
    embeddings, labels = rows.embeddings, rows.labels
    cosines = embeddings @ normalise(prototypes.to(embeddings.dtype)).T
    sums = embeddings.new_zeros(0)
    if loss.class_sums:
        sums = loss.class_terms(cosines, _is_own(cosines, labels, 0), rows.own)
    terms = loss.others(cosines, rows.own)
    if loss.pool == "sum":
        return terms.scatter(1, labels[:, None], 0).sum(dim=1), sums
    return terms.scatter(1, labels[:, None], -math.inf).logsumexp(dim=1), sums


def pool_chunked(
    loss: Loss, rows: Rows, prototypes: Float[Tensor, "classes dim"], *, chunk: int
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " sums"]]:
    """Pool chunk by chunk; same values and gradients as `pool_dense`, to rounding."""
    own = rows.own
    return _Streamed.apply(  # type: ignore[no-untyped-call]
        rows.embeddings,
        prototypes,
        own.cosine,
        own.norms,
        own.prepared,
        own.state,
        rows.labels,
        loss,
        chunk,
        own.proxies,
    )


class _Streamed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        prototypes: Tensor,
        cosine_y: Tensor,
        norms: Tensor,
        prepared: Tensor | None,
        state: Tensor | None,
        labels: Tensor,
        loss: Loss,
        chunk: int,
        proxies: int,
    ) -> tuple[Tensor, Tensor]:
        own = OwnClass(cosine_y, norms, state, embeddings.shape[1], proxies, prepared)
        is_sum = loss.pool == "sum"
        sums = embeddings.new_zeros(loss.class_sums)
        pooled = embeddings.new_full(labels.shape, 0 if is_sum else -math.inf)
        for start, _, _, cosines in _walk(embeddings, prototypes, chunk):
            if loss.class_sums:
                sums += loss.class_terms(cosines, _is_own(cosines, labels, start), own)
            terms = loss.others(cosines, own)
            if is_sum:
                pooled += _without_own(terms, labels, start, 0).sum(dim=1)
            else:
                terms = _without_own(terms, labels, start, -math.inf)
                pooled = torch.logaddexp(pooled, terms.logsumexp(dim=1))
        ctx.save_for_backward(
            embeddings, prototypes, cosine_y, norms, prepared, state, labels, pooled
        )
        ctx.loss, ctx.chunk, ctx.proxies = loss, chunk, proxies
        return pooled, sums

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        to_pooled, to_sums = gradients
        embeddings, prototypes, *of_rows, state, labels, pooled = ctx.saved_tensors
        rows = [row.detach().requires_grad_() for row in of_rows if row is not None]
        prepared = rows[2] if len(rows) == 3 else None
        own = OwnClass(rows[0], rows[1], state, embeddings.shape[1], ctx.proxies, prepared)
        row_gradients = [torch.zeros_like(row) for row in rows]
        to_embeddings = torch.zeros_like(embeddings)
        to_prototypes = embeddings.new_empty(prototypes.shape)
        with torch.autocast(embeddings.device.type, enabled=False):
            for start, weights, inverse, cosines in _walk(embeddings, prototypes, ctx.chunk):
                leaf = cosines.detach().requires_grad_()
                outputs, slopes = _differentiable(
                    ctx.loss, leaf, labels, start, own, (pooled, to_pooled, to_sums)
                )
                to_cosines, *to_rows = torch.autograd.grad(
                    outputs, [leaf, *rows], slopes, allow_unused=True
                )
                for total, part in zip(row_gradients, to_rows, strict=True):
                    if part is not None:
                        total += part
                part_of_prototypes = to_prototypes[start : start + len(weights)]
                along = (to_cosines * cosines).sum(dim=0) * inverse * inverse
                to_cosines = to_cosines * inverse
                to_embeddings.addmm_(to_cosines, weights)
                torch.mm(to_cosines.T, embeddings, out=part_of_prototypes)
                part_of_prototypes.addcmul_(along[:, None], weights, value=-1)
        to_prototypes = to_prototypes.to(prototypes.dtype)
        without = [None] * (8 - len(rows))
        return to_embeddings, to_prototypes, *row_gradients, *without


def _differentiable(
    loss: Loss,
    leaf: Tensor,
    labels: Tensor,
    start: int,
    own: OwnClass,
    pools: tuple[Tensor, Tensor, Tensor],
) -> tuple[list[Tensor], list[Tensor]]:
    """Compute a chunk's terms and sums again, with the gradient that reaches each from outside."""
    pooled, to_pooled, to_sums = pools
    with torch.enable_grad():
        outputs = [loss.others(leaf, own)]
        if loss.class_sums:
            outputs.append(loss.class_terms(leaf, _is_own(leaf, labels, start), own))
    slopes = _pool_slopes(loss, outputs[0].detach(), pooled, to_pooled)
    slopes = _without_own(slopes, labels, start, 0)
    return outputs, [slopes, to_sums][: len(outputs)]


def _walk(
    embeddings: Tensor, prototypes: Tensor, chunk: int
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Yield each chunk's first class, raw prototypes, inverse lengths and cosines (one buffer)."""
    buffer = embeddings.new_empty(len(embeddings) * min(chunk, len(prototypes)))
    for start in range(0, len(prototypes), chunk):
        with torch.no_grad():
            weights = prototypes[start : start + chunk].to(embeddings.dtype)
            inverse = inverse_lengths(torch.linalg.vector_norm(weights, dim=1))
            cosines = buffer[: len(embeddings) * len(weights)].view(len(embeddings), -1)
            torch.mm(embeddings, weights.T, out=cosines)
            cosines *= inverse
        yield start, weights, inverse, cosines


def _is_own(cosines: Tensor, labels: Tensor, start: int) -> Tensor:
    """Return where the own classes of the rows lie in this chunk."""
    columns = torch.arange(start, start + cosines.shape[1], device=labels.device)
    return labels[:, None] == columns


def _without_own(values: Tensor, labels: Tensor, start: int, fill: float) -> Tensor:
    """Put `fill` at each row's own class, if it lies in this chunk; writes into `values`."""
    place = (labels - start).clamp(0, values.shape[1] - 1)[:, None]
    is_here = (place[:, 0] + start == labels)[:, None]
    return values.scatter_(1, place, torch.where(is_here, fill, values.gather(1, place)))


def _pool_slopes(loss: Loss, terms: Tensor, pooled: Tensor, gradient: Tensor) -> Tensor:
    """Return the pool's derivative by each term, times the gradient of the row."""
    if loss.pool == "sum":
        return gradient[:, None].expand_as(terms).clone()
    return torch.exp(terms - pooled[:, None]).mul_(gradient[:, None])
