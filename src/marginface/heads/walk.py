"""The walk: class vectors chunk by chunk, their products with the embeddings, and the way back.

    cos θ_ij = x̂_i·w_j / |w_j|

With g_ij = ∂L/∂cos θ_ij / |w_j|, x̂ unit vectors and w raw ones, so that no normalised class
vectors are ever stored:

    ∂L/∂x̂_i = Σ_j g_ij·w_j,     ∂L/∂w_j = Σ_i g_ij·x̂_i - w_j·( Σ_i g_ij·cos θ_ij ) / |w_j|
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from marginface.axes import Tensor
from marginface.heads.precision import Precision
from marginface.heads.updates import WalkUpdate
from marginface.sphere import inverse_lengths


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some classes of a walk.

    Args:
        start: Place of the first in the walk.
        weights: Their raw vectors, in the type of the embeddings, shape (classes, dim).
        factors: The same in the type of the products.
        inverse: 1 / |w|, shape (classes,).
    """

    start: int
    weights: Tensor
    factors: Tensor
    inverse: Tensor

    @property
    def stop(self) -> int:
        """Place after the last."""
        return self.start + len(self.weights)


class Walk:
    """Visit classes in chunks, twice: forward for their cosines, back with their gradients.

    Args:
        embeddings: Unit vectors, shape (rows, dim).
        prototypes: Raw vectors, shape (classes, dim).
        visited: Which classes, rising; None for all.
        chunk: Classes at a time.
        precision: Of the products.
    """

    def __init__(
        self,
        embeddings: Tensor,
        prototypes: Tensor,
        visited: Tensor | None,
        chunk: int,
        precision: Precision,
    ) -> None:
        self.visited = visited
        self.precision = precision
        self.count = len(prototypes) if visited is None else len(visited)
        self.chunk = max(1, min(chunk, self.count))
        self._inverse = embeddings.new_empty(self.count)
        self._kept: Tensor | None = None
        if precision.keeps_cosines:
            kept = (len(embeddings), self.count)
            self._kept = embeddings.new_empty(kept, dtype=torch.float16)

    def forward(self, embeddings: Tensor, prototypes: Tensor) -> Iterator[tuple[Chunk, Tensor]]:
        """Yield each chunk with its cosines, which the next one overwrites."""
        factors, buffer = self.precision.rounded(embeddings), self._buffer(embeddings)
        for chunk in self._chunks(embeddings, prototypes, is_first=True):
            cosines = self._cosines(factors, chunk, buffer)
            if self._kept is not None:
                self._kept[:, chunk.start : chunk.stop] = cosines
            yield chunk, cosines

    def back(self, embeddings: Tensor, prototypes: Tensor) -> Iterator[tuple[Chunk, Tensor]]:
        """Yield the same once more, with the cosines computed again or as kept."""
        factors, buffer = self.precision.rounded(embeddings), self._buffer(embeddings)
        for chunk in self._chunks(embeddings, prototypes, is_first=False):
            if self._kept is None:
                yield chunk, self._cosines(factors, chunk, buffer)
            else:
                cosines = buffer[: len(embeddings) * len(chunk.weights)].view(len(embeddings), -1)
                yield chunk, cosines.copy_(self._kept[:, chunk.start : chunk.stop])

    def _chunks(self, embeddings: Tensor, prototypes: Tensor, *, is_first: bool) -> Iterator[Chunk]:
        for start in range(0, self.count, self.chunk):
            with torch.no_grad():
                part = slice(start, min(start + self.chunk, self.count))
                rows = prototypes[part if self.visited is None else self.visited[part]]
                weights = rows.to(embeddings.dtype)
                if is_first:
                    lengths = torch.linalg.vector_norm(weights, dim=1)
                    self._inverse[part] = inverse_lengths(lengths)
                chunk = Chunk(start, weights, self.precision.rounded(weights), self._inverse[part])
            yield chunk

    def _buffer(self, embeddings: Tensor) -> Tensor:
        return embeddings.new_empty(len(embeddings) * self.chunk)

    def _cosines(self, factors: Tensor, chunk: Chunk, buffer: Tensor) -> Tensor:
        cosines = buffer[: len(factors) * len(chunk.weights)].view(len(factors), -1)
        with torch.no_grad():
            if factors.dtype == cosines.dtype:
                torch.mm(factors, chunk.factors.T, out=cosines)
            else:
                cosines.copy_(factors @ chunk.factors.T)
            return cosines.mul_(chunk.inverse)


class WayBack:
    """Turn slopes of cosines into gradients of embeddings and class vectors, chunk by chunk.

    Args:
        walk: The walk whose chunks come.
        embeddings: Unit vectors, shape (rows, dim).
        prototypes: Raw vectors, shape (classes, dim).
        update: Takes each chunk's gradient and moves its classes at once; None to keep gradients.
    """

    def __init__(
        self, walk: Walk, embeddings: Tensor, prototypes: Tensor, update: WalkUpdate | None
    ) -> None:
        self.walk = walk
        self.embeddings = embeddings
        self.update = update
        self.factors = walk.precision.rounded(embeddings)
        self.to_embeddings = torch.zeros_like(embeddings)
        self.to_prototypes: Tensor | None = None
        if update is None:
            make = torch.empty if walk.visited is None else torch.zeros
            self.to_prototypes = make(
                prototypes.shape, dtype=embeddings.dtype, device=embeddings.device
            )

    def take(self, chunk: Chunk, cosines: Tensor, to_cosines: Tensor) -> None:
        """Add what one chunk sends back; writes into both matrices of slopes and cosines."""
        slopes = to_cosines.mul_(chunk.inverse)
        along = cosines.mul_(slopes).sum(dim=0).mul_(chunk.inverse)
        factors = self.walk.precision.rounded(slopes)
        if factors.dtype == self.to_embeddings.dtype:
            self.to_embeddings.addmm_(factors, chunk.factors)
        else:
            self.to_embeddings += factors @ chunk.factors
        part = slice(chunk.start, chunk.stop)
        rows = part if self.walk.visited is None else self.walk.visited[part]
        if self.update is not None:
            self.update.move(rows, chunk.weights, factors, self.factors, along)
        elif self.to_prototypes is not None:
            self._keep(rows, chunk, factors, along)

    def _keep(self, rows: slice | Tensor, chunk: Chunk, factors: Tensor, along: Tensor) -> None:
        total = self.to_prototypes
        assert total is not None
        if isinstance(rows, slice) and factors.dtype == total.dtype:
            part = torch.mm(factors.T, self.factors, out=total[rows])
            part.addcmul_(along[:, None], chunk.weights, value=-1)
        else:
            part = (factors.T @ self.factors).to(total.dtype)
            total[rows] = part.addcmul_(along[:, None], chunk.weights, value=-1)
