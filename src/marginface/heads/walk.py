"""The walk: class vectors chunk by chunk, their products with the embeddings, and the way back.

    a_ij = x̂_i·w_j,     cos θ_ij = a_ij / |w_j|

With h_ij = ∂L/∂cos θ_ij / (r_i·|w_j|), x̂ unit vectors, w raw ones and r_i a factor of the row, so
that no class vectors are stored normalised, and no slopes multiplied by what a whole row shares:

    ∂L/∂x̂_i = r_i·Σ_j h_ij·w_j,     ∂L/∂w_j = Σ_i h_ij·r_i·x̂_i - w_j·( Σ_i r_i·h_ij·a_ij ) / |w_j|²
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
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
        to_cosines: What turns the products that come with it into cosines, shape (classes,).
    """

    start: int
    weights: Tensor
    factors: Tensor
    inverse: Tensor
    to_cosines: Tensor

    @property
    def stop(self) -> int:
        """Place after the last."""
        return self.start + len(self.weights)

    def matrix(self, memory: Tensor, rows: int) -> Tensor:
        """Return the first numbers of some memory as a matrix of rows × classes."""
        classes = len(self.weights)
        return memory.view(-1)[: rows * classes].view(rows, classes)


class Walk:
    """Visit classes in chunks, twice: forward for their products, back with their gradients.

    Products that forward leaves for the way back save one product in four. They wait in the memory
    of the class vectors' gradient, which is written chunk by chunk as they are used: exact, and for
    nothing. Where no such gradient is stored, or it has fewer numbers a class than there are rows,
    they are computed again, or kept as float16 cosines if the precision says so.

    Args:
        embeddings: Unit vectors, shape (rows, dim).
        prototypes: Raw vectors, shape (classes, dim).
        visited: Which classes, rising; None for all.
        chunk: Classes at a time.
        precision: Of the products.
        comes_back: Whether there will be a way back.
        stores_gradient: Whether it will return the gradient of the class vectors.
    """

    def __init__(
        self,
        embeddings: Tensor,
        prototypes: Tensor,
        visited: Tensor | None,
        chunk: int,
        precision: Precision,
        *,
        comes_back: bool,
        stores_gradient: bool,
    ) -> None:
        self.visited = visited
        self.precision = precision
        self.count = len(prototypes) if visited is None else len(visited)
        self.chunk = max(1, min(chunk, self.count))
        rows, dim = embeddings.shape
        self._inverse = self._to_cosines = embeddings.new_empty(self.count)
        # Memory that is new for every chunk costs page faults for as long as the product itself.
        dtype = precision.products_of(embeddings)
        rounds = dtype != embeddings.dtype
        self._factors = embeddings.new_empty((self.chunk, dim) if rounds else 0, dtype=dtype)
        self._rounded = embeddings.new_empty(self.chunk * rows if rounds else 0, dtype=dtype)
        self._kept: Tensor | None = None
        self._gradient: Tensor | None = None
        if comes_back and stores_gradient and visited is None and rows <= dim:
            self._gradient = self._kept = _written_once(prototypes.shape, embeddings)
        elif comes_back and precision.keeps_cosines:
            self._kept = embeddings.new_empty((self.count, rows), dtype=torch.float16)
            self._to_cosines = embeddings.new_ones(self.count)

    def forward(self, embeddings: Tensor, prototypes: Tensor) -> Iterator[tuple[Chunk, Tensor]]:
        """Yield each chunk with its products, which may not be changed."""
        factors, buffer = self.precision.rounded(embeddings), self.buffer(embeddings)
        rows = len(embeddings)
        for chunk in self._chunks(embeddings, prototypes, is_first=True):
            kept = _place(self._kept, chunk, rows)
            if kept is None or kept.dtype == torch.float16:
                products = self._multiply(factors, chunk, chunk.matrix(buffer, rows))
                if kept is not None:
                    kept.copy_(products.mul_(chunk.inverse))
            else:
                products = self._multiply(factors, chunk, kept)
            yield chunk, products

    def back(self, embeddings: Tensor, prototypes: Tensor) -> Iterator[tuple[Chunk, Tensor]]:
        """Yield the same once more, as kept or computed again; the products may be changed."""
        factors, buffer = self.precision.rounded(embeddings), self.buffer(embeddings)
        rows, all_kept = len(embeddings), self._kept
        if self._gradient is not None:  # from now on it holds gradients
            self._kept = self._gradient = None
        for chunk in self._chunks(embeddings, prototypes, is_first=False):
            kept = _place(all_kept, chunk, rows)
            if kept is None:
                yield chunk, self._multiply(factors, chunk, chunk.matrix(buffer, rows))
            elif kept.dtype == torch.float16:
                yield chunk, chunk.matrix(buffer, rows).copy_(kept)
            else:
                yield chunk, kept

    def gradient_memory(self, embeddings: Tensor, prototypes: Tensor) -> Tensor:
        """Return where the gradient of the class vectors goes; zeros where not all are visited."""
        if self._gradient is not None:
            return self._gradient
        if self.visited is not None:
            return embeddings.new_zeros(prototypes.shape)
        return _written_once(prototypes.shape, embeddings)

    def _chunks(self, embeddings: Tensor, prototypes: Tensor, *, is_first: bool) -> Iterator[Chunk]:
        for start in range(0, self.count, self.chunk):
            part = slice(start, min(start + self.chunk, self.count))
            rows = prototypes[part if self.visited is None else self.visited[part]]
            weights = rows.to(embeddings.dtype)
            if is_first:
                lengths = torch.linalg.vector_norm(weights, dim=1)
                self._inverse[part] = inverse_lengths(lengths)
            factors = weights
            if len(self._factors):
                factors = self._factors[: len(weights)].copy_(weights)
            yield Chunk(start, weights, factors, self._inverse[part], self._to_cosines[part])

    def rounded(self, chunk: Chunk, matrix: Tensor) -> Tensor:
        """Return a matrix of rows × classes in the type of the products."""
        if not len(self._rounded):
            return matrix
        return chunk.matrix(self._rounded, len(matrix)).copy_(matrix)

    def _multiply(self, factors: Tensor, chunk: Chunk, out: Tensor) -> Tensor:
        through = chunk.matrix(self._rounded, len(out)) if len(self._rounded) else out
        return multiply(factors, chunk.factors.T, out, through)

    def buffer(self, embeddings: Tensor) -> Tensor:
        """Return memory for a chunk's matrix of rows × classes."""
        return embeddings.new_empty(len(embeddings) * self.chunk)


def _place(kept: Tensor | None, chunk: Chunk, rows: int) -> Tensor | None:
    """Return where the products of a chunk are kept: in the memory of its own classes."""
    return None if kept is None else chunk.matrix(kept[chunk.start : chunk.stop], rows)


def _written_once(shape: torch.Size, like: Tensor) -> Tensor:
    """Return empty memory of the type and on the device of another tensor.

    Memory that is new at every step costs a page fault for each 4 KiB; NumPy asks Linux for pages
    of 2 MiB, and the first writing then takes half the time.
    """
    if like.device.type != "cpu" or not shape.numel():
        return like.new_empty(shape)
    is_double = like.dtype == torch.float64
    return torch.from_numpy(np.empty(shape, np.float64 if is_double else np.float32))


def multiply(first: Tensor, second: Tensor, out: Tensor, through: Tensor) -> Tensor:
    """Write a product, by way of memory in the type of its factors."""
    product = torch.mm(first, second, out=through)
    return out if product is out else out.copy_(product)


class WayBack:
    """Turn slopes of cosines into gradients of embeddings and class vectors, chunk by chunk.

    Args:
        walk: The walk whose chunks come.
        embeddings: Unit vectors, shape (rows, dim).
        prototypes: Raw vectors, shape (classes, dim).
        row_factors: What every slope of a row is to be multiplied by, shape (rows,).
        update: Takes each chunk's gradient and moves its classes at once; None to keep gradients.
    """

    def __init__(
        self,
        walk: Walk,
        embeddings: Tensor,
        prototypes: Tensor,
        row_factors: Tensor,
        update: WalkUpdate | None,
    ) -> None:
        self.walk = walk
        self.row_factors = row_factors
        self.update = update
        self.senders = walk.precision.rounded(embeddings * row_factors[:, None])
        self._to_embeddings = torch.zeros_like(embeddings)
        self.to_prototypes: Tensor | None = None
        if update is None:
            self.to_prototypes = walk.gradient_memory(embeddings, prototypes)
        if self.to_prototypes is not None and walk.visited is None:
            self._memory = self.to_prototypes
        else:  # of one chunk, whose gradient is used up at once or goes to scattered places
            self._memory = embeddings.new_empty(walk.chunk, embeddings.shape[1])
        self._is_in_place = self._memory is self.to_prototypes

    @property
    def to_embeddings(self) -> Tensor:
        """The gradient of the embeddings."""
        return self._to_embeddings * self.row_factors[:, None]

    def take(self, chunk: Chunk, products: Tensor, to_cosines: Tensor) -> None:
        """Add what one chunk sends back; writes into both matrices.

        Args:
            chunk: The classes.
            products: Of all rows with them, as the walk yields them.
            to_cosines: Slopes of the cosines, without the factors of the rows.
        """
        slopes = to_cosines.mul_(chunk.inverse)
        along = torch.mv(products.mul_(slopes).T, self.row_factors)
        along.mul_(chunk.to_cosines).mul_(chunk.inverse)
        factors = self.walk.rounded(chunk, slopes)
        if factors.dtype == self._to_embeddings.dtype:
            self._to_embeddings.addmm_(factors, chunk.factors)
        else:
            self._to_embeddings += factors @ chunk.factors
        part = slice(chunk.start, chunk.stop)
        rows = part if self.walk.visited is None else self.walk.visited[part]
        gradient = self._memory[part if self._is_in_place else slice(len(chunk.weights))]
        # Rounded vectors have served by now, and are of the gradient's shape.
        through = gradient if chunk.factors is chunk.weights else chunk.factors
        multiply(factors.T, self.senders, gradient, through)
        gradient.addcmul_(along[:, None], chunk.weights, value=-1)
        if self.update is not None:
            self.update.move(rows, gradient)
        elif self.to_prototypes is not None and not self._is_in_place:
            self.to_prototypes[rows] = gradient
