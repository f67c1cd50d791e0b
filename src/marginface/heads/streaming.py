"""One number per row from all other classes, chunk by chunk: no memory for batch × classes.

    pooled_i = log Σ_{j≠y_i} e^{t_ij}   or   Σ_{j≠y_i} t_ij,     t_ij = loss.others(cos θ_ij)

The classes are visited twice. Forward keeps the running pool, and products where that is for free.
Backward computes each chunk's terms again, differentiates them by autograd within the chunk, and
hands the slopes to the way back; terms s·cos θ, those of most losses, need no autograd. The sums of
a loss with terms of classes, `loss.class_terms`, are added up in the same two visits.

A plain sum needs no pool to be differentiated, so SFace is visited once: forward already sends
back the slopes of a mean over the batch, and backward finds them done.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from marginface.axes import Float, Tensor
from marginface.heads.dense import Rows
from marginface.heads.own_places import OwnPlaces
from marginface.heads.precision import Precision
from marginface.heads.updates import WalkUpdate
from marginface.heads.walk import Chunk, Walk, WayBack
from marginface.losses.base import Loss, OwnClass

# Classes at a time where nobody said: fewer cost more calls, more leave the processor's cache.
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
    """

    chunk: int | None
    precision: Precision
    visited: Tensor | None
    update: WalkUpdate | None
    expected_slope: float

    @property
    def is_dense(self) -> bool:
        """Whether plain autograd over the whole matrix does it."""
        return self.chunk is None and self.precision.is_plain and self.update is None


def pool_streamed(
    loss: Loss, rows: Rows, prototypes: Float[Tensor, "classes dim"], how: Pooling
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " sums"]]:
    """Pool chunk by chunk; same values and gradients as `pool_dense`, to rounding."""
    own = rows.own
    inputs = (rows.embeddings, prototypes, own.cosine, own.norms, own.prepared)
    is_differentiated = torch.is_grad_enabled() and any(
        item is not None and item.requires_grad for item in inputs
    )
    is_linear = loss.pool == "sum" and not loss.class_sums and how.update is None
    places = OwnPlaces(rows.labels)
    stream = _Stream(
        loss,
        places,
        own.state,
        own.proxies,
        how,
        is_differentiated,
        is_differentiated and is_linear,
    )
    return _Streamed.apply(stream, *inputs)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class _Stream:
    """What the visits know beside the tensors with gradients."""

    loss: Loss
    places: OwnPlaces
    state: Tensor | None
    proxies: int
    how: Pooling
    is_differentiated: bool
    is_single: bool

    def own(self, embeddings: Tensor, rows: list[Tensor]) -> OwnClass:
        prepared = rows[2] if len(rows) == 3 else None
        return OwnClass(rows[0], rows[1], self.state, embeddings.shape[1], self.proxies, prepared)

    def empty_pool(self, embeddings: Tensor) -> Tensor:
        return embeddings.new_full((len(embeddings),), 0 if self.loss.pool == "sum" else -math.inf)

    @property
    def scale(self) -> float | None:
        """The scale of a loss whose terms are scaled cosines, and need no autograd."""
        is_plain = self.loss.pool == "logsumexp" and not self.loss.class_sums
        return self.loss.scale_of_others if is_plain else None

    def walk(self, embeddings: Tensor, prototypes: Tensor, *, stores_gradient: bool) -> Walk:
        how = self.how
        return Walk(
            embeddings,
            prototypes,
            how.visited,
            how.chunk or CHUNK,
            how.precision,
            comes_back=self.is_differentiated and not self.is_single,
            stores_gradient=stores_gradient and how.update is None,
        )

    def pooled(self, pooled: Tensor, terms: Tensor, start: int) -> Tensor:
        """Add a chunk's terms, which are overwritten, to the running pool."""
        if self.loss.pool == "sum":
            self.places.fill(terms, start, 0.0)
            return pooled + terms.sum(dim=1)
        self.places.fill(terms, start, -math.inf)
        # The highest of a chunk with nothing but the own class is -∞, and -∞ + ∞ would be NaN.
        highest = terms.amax(dim=1).clamp_(min=torch.finfo(terms.dtype).min)
        total = terms.sub_(highest[:, None]).exp_().sum(dim=1)
        return torch.logaddexp(pooled, total.log_().add_(highest))

    def slopes(self, terms: Tensor, pooled: Tensor, to_pooled: Tensor, start: int) -> Tensor:
        """Return the pool's derivative by each term, which is kept, times the row's gradient."""
        if self.loss.pool == "sum":
            slopes = to_pooled[:, None].repeat(1, terms.shape[1])
        else:
            slopes = torch.sub(terms, pooled[:, None]).exp_().mul_(to_pooled[:, None])
        self.places.fill(slopes, start, 0.0)
        return slopes


class _Streamed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, stream: _Stream, embeddings: Tensor, prototypes: Tensor, *of_rows: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        rows = [row for row in of_rows if row is not None]
        own, loss = stream.own(embeddings, rows), stream.loss
        sums, pooled = embeddings.new_zeros(loss.class_sums), stream.empty_pool(embeddings)
        ctx.walk = stream.walk(embeddings, prototypes, stores_gradient=ctx.needs_input_grad[2])
        ctx.stream, ctx.done = stream, None
        if stream.is_single:
            slope = torch.full_like(pooled, stream.how.expected_slope)
            pools = (pooled, slope, sums)
            ctx.done = _WalkBack(stream, ctx.walk, embeddings, prototypes, rows, pools)
        buffer = ctx.walk.buffer(embeddings)
        for chunk, products in ctx.walk.forward(embeddings, prototypes):
            terms = chunk.matrix(buffer, len(embeddings))
            if ctx.done is not None:
                terms = ctx.done.take(chunk, products)
            elif stream.scale is not None:
                torch.mul(products, stream.scale * chunk.to_cosines, out=terms)
            else:
                cosines = torch.mul(products, chunk.to_cosines, out=terms)
                if loss.class_sums:
                    sums += loss.class_terms(cosines, stream.places.mask(cosines, chunk.start), own)
                terms = loss.others(cosines, own)
            pooled = stream.pooled(pooled, terms, chunk.start)
        ctx.save_for_backward(embeddings, prototypes, pooled, *rows)
        return pooled, sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        to_pooled, to_sums = gradients
        if ctx.stream.how.update is not None:
            ctx.stream.how.update.check_first_walk()
        embeddings, prototypes, pooled, *rows = ctx.saved_tensors
        back: _WalkBack | None = ctx.done
        ctx.done = None  # its buffers go to whoever asked; a second backward walks
        if back is not None and bool((to_pooled == to_pooled[:1]).all()):
            return back.results(scale=float(to_pooled[0]) / ctx.stream.how.expected_slope)
        pools = (pooled, to_pooled, to_sums)
        back = _WalkBack(ctx.stream, ctx.walk, embeddings, prototypes, rows, pools)
        with torch.autocast(embeddings.device.type, enabled=False):
            for chunk, products in ctx.walk.back(embeddings, prototypes):
                back.take(chunk, products)
        return back.results()


class _WalkBack:
    """Gather the gradients of everything, chunk by chunk.

    Args:
        stream: What is known beside the tensors with gradients.
        walk: The walk whose chunks come.
        embeddings: Unit vectors, shape (rows, dim).
        prototypes: Raw vectors, shape (classes, dim).
        rows: What else is known of each row, and may want a gradient.
        pools: The pool of each row, the gradients of the pools, and those of the sums.
    """

    def __init__(
        self,
        stream: _Stream,
        walk: Walk,
        embeddings: Tensor,
        prototypes: Tensor,
        rows: list[Tensor],
        pools: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        self.stream = stream
        self.dtype = prototypes.dtype
        self.rows = [row.detach().requires_grad_() for row in rows]
        self.to_rows = [torch.zeros_like(row) for row in rows]
        self.own = stream.own(embeddings, self.rows)
        self.pools = pools
        factors = torch.ones_like(pools[0]) if stream.scale is None else stream.scale * pools[1]
        self.back = WayBack(walk, embeddings, prototypes, factors, stream.how.update)
        self.buffer = walk.buffer(embeddings)

    def take(self, chunk: Chunk, products: Tensor) -> Tensor:
        """Differentiate a chunk and send its slopes on; return its terms for a plain sum.

        Args:
            chunk: The classes.
            products: Of all rows with them, as the walk yields them; overwritten.
        """
        cosines = chunk.matrix(self.buffer, len(products))
        if self.stream.scale is None:
            torch.mul(products, chunk.to_cosines, out=cosines)
            terms, to_cosines = self._by_autograd(chunk, cosines)
        else:
            terms = to_cosines = self._by_scale(chunk, products, self.stream.scale, out=cosines)
        self.back.take(chunk, products, to_cosines)
        return terms

    def _by_scale(self, chunk: Chunk, products: Tensor, scale: float, out: Tensor) -> Tensor:
        """Return e^{s·cos θ - pooled}; s·∂L/∂pooled is the factor of the row."""
        to_terms = scale * chunk.to_cosines
        slopes = torch.addcmul(-self.pools[0][:, None], products, to_terms, out=out).exp_()
        self.stream.places.fill(slopes, chunk.start, 0.0)
        return slopes

    def _by_autograd(self, chunk: Chunk, cosines: Tensor) -> tuple[Tensor, Tensor]:
        """Return the terms and the slopes of the cosines; those of the rows are added up."""
        stream, loss = self.stream, self.stream.loss
        pooled, to_pooled, to_sums = self.pools
        leaf = cosines.detach().requires_grad_()
        with torch.enable_grad():
            outputs = [loss.others(leaf, self.own)]
            if loss.class_sums:
                mine = stream.places.mask(leaf, chunk.start)
                outputs.append(loss.class_terms(leaf, mine, self.own))
        terms = outputs[0].detach()
        slopes = [stream.slopes(terms, pooled, to_pooled, chunk.start), to_sums]
        to_cosines, *to_rows = torch.autograd.grad(
            outputs, [leaf, *self.rows], slopes[: len(outputs)], allow_unused=True
        )
        for total, part in zip(self.to_rows, to_rows, strict=True):
            if part is not None:
                total += part
        return terms, to_cosines

    def results(self, scale: float = 1.0) -> tuple[Tensor | None, ...]:
        """Return the gradients of all inputs of the function, times a number."""
        to_prototypes = self.back.to_prototypes
        found = [self.back.to_embeddings, to_prototypes, *self.to_rows]
        if scale != 1:
            found = [None if gradient is None else gradient.mul_(scale) for gradient in found]
        if to_prototypes is not None:
            found[1] = to_prototypes.to(self.dtype)
        return None, *found, *[None] * (3 - len(self.to_rows))
