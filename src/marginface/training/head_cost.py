"""What the identity head costs: the work of a step and the memory it takes, from sizes alone.

With R rows, C classes held here of which V are visited, d dimensions, m rows × classes matrices
that plain autograd holds at once, and b bytes a number:

    kept       (1 + n)·b·C·d              class vectors and the n means that descent keeps of each
                                          gradient: momentum alone, or two for AdamW
    gradient   b·C·d                      unless the classes move within the walk
    dense      max(b·(m·R·C + C·d), 3·b·C·d), the gradient among them; where a matrix has at most
               32 MiB b·((m + 1.5)·R·C + 3·C·d), for the allocator then keeps what was given back
    streamed   b·k·chunk·R + b·C + 4 MiB and the gradient, that of a chunk, b·chunk·d, where the
               classes move within the walk; 2·R·V where cosines are kept; k is 3 for terms s·cos θ
               and 20 for those that autograd differentiates

    products   8·R·V·d streamed; 6 dense, in one walk, or where those of forward are kept

The numbers of matrices and of passes over them were counted in the code of `marginface.heads` and
held to measurements; `docs/planning.md` has both side by side.
"""

import math
from dataclasses import dataclass

import torch

from marginface.heads.precision import Precision, precision_named
from marginface.heads.streaming import CHUNK as UNTOLD_CHUNK
from marginface.losses import make_loss
from marginface.losses.base import Loss
from marginface.training.build import CHUNK, DENSE_CLASSES
from marginface.training.config import TrainConfig

# The largest block that the allocator of glibc does not return to the system.
KEPT_BY_ALLOCATOR = 32 << 20
# What libraries hold for themselves around a walk, whatever its size.
WORKSPACE = 4 << 20
# Blocks of rows × chunk that a walk holds at once, without autograd and with it: 9 for the loss
# with most terms (CurricularFace), and as much again in the gaps that the allocator leaves.
BLOCKS, AUTOGRAD_BLOCKS = 3, 20
# How often a step reads or writes every number of the class vectors, their gradient and their
# momentum, fused descent included; with copies of chosen classes more often.
DENSE_TRAFFIC, STREAMED_TRAFFIC, IN_WALK_TRAFFIC, SAMPLED_TRAFFIC = 26, 15, 12, 8


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a step of the head does, in units that a machine has a speed for.

    Args:
        product_flops: Multiplications and additions of its matrix products.
        is_rounded: Whether these are of bfloat16 numbers.
        passes: Numbers read, changed and written in blocks that fit into a cache.
        streamed_bytes: Bytes that travel from or to main memory.
        fresh_bytes: Bytes of memory touched for the first time since the system gave it.
    """

    product_flops: float
    is_rounded: bool
    passes: float
    streamed_bytes: float
    fresh_bytes: float


@dataclass(frozen=True, kw_only=True)
class HeadMemory:
    """Bytes that a head takes.

    Args:
        kept: Between steps: class vectors and what descent keeps beside them.
        gradient: Of the class vectors, until the optimiser's step.
        within: At the peak of its own forward and backward pass, the gradient included.
    """

    kept: int
    gradient: int
    within: int


@dataclass(frozen=True, kw_only=True)
class HeadCost:
    """The sizes that the cost follows from.

    Args:
        rows: Samples that meet the classes at once, of all processes, and proxy rows below them.
        classes: Held by one process.
        visited: Of these, at a step.
        dim: Length of a feature.
        chunk: Classes at a time; None for all at once.
        loss: The loss, which says how many matrices there are.
        precision: Of the products.
        updates_in_walk: Whether no gradient of the class vectors is stored.
        moments: Running means kept beside each class vector.
        number_bytes: Bytes of a number.
        device: Type of device that computes it.
    """

    rows: int
    classes: int
    visited: int
    dim: int
    chunk: int | None
    loss: Loss
    precision: Precision
    updates_in_walk: bool = False
    moments: int = 1
    number_bytes: int = 4
    device: str = "cpu"

    @property
    def is_scaled(self) -> bool:
        """Whether terms are scaled cosines, which need no autograd."""
        return self.loss.scale_of_others is not None

    @property
    def waits_in_gradient(self) -> bool:
        """Whether products wait in the gradient's memory, instead of being computed again."""
        is_whole = self.chunk is not None and self.visited == self.classes
        return is_whole and not self.updates_in_walk and self.rows <= self.dim

    @property
    def keeps_cosines(self) -> bool:
        """Whether cosines are kept in memory of their own."""
        has_none = self.chunk is not None and not self.waits_in_gradient
        return has_none and not self.is_single_walk and self.precision.keeps_cosines

    @property
    def is_single_walk(self) -> bool:
        """Whether a plain sum is differentiated as it is added up."""
        is_sum = self.loss.pool == "sum" and not self.loss.class_sums
        return is_sum and not self.updates_in_walk and self.chunk is not None

    @property
    def matrices(self) -> float:
        """Rows × classes matrices that a dense pass holds at its peak."""
        if self.loss.pool == "sum":
            return 4
        # Terms that autograd differentiates leave two more, and masks of a byte a number.
        return 5 if self.is_scaled else 7.25

    def memory(self) -> HeadMemory:
        """Return the bytes it takes."""
        b, of_vectors = self.number_bytes, self.number_bytes * self.classes * self.dim
        entries = self.rows * self.visited
        gradient = 0 if self.updates_in_walk else of_vectors
        if self.chunk is None:
            within = self._dense_bytes(b * entries, of_vectors)
        else:
            chunk = min(self.chunk, self.visited)
            within = gradient + b * self.classes + WORKSPACE
            within += b * chunk * self.rows * (BLOCKS if self.is_scaled else AUTOGRAD_BLOCKS)
            within += b * chunk * self.dim if self.updates_in_walk else 0
            within += 2 * entries if self.keeps_cosines else 0
        kept = of_vectors * (1 + self.moments)
        return HeadMemory(kept=kept, gradient=gradient, within=int(within))

    def _dense_bytes(self, matrix: int, of_vectors: int) -> float:
        if matrix <= KEPT_BY_ALLOCATOR:
            return (self.matrices + 1.5) * matrix + 3 * of_vectors
        return max(self.matrices * matrix + of_vectors, 3 * of_vectors)

    @property
    def _further_traffic(self) -> int:
        """How often a step reads or writes means beyond the first."""
        return 2 * max(0, self.moments - 1)

    def work(self) -> Work:
        """Return what a forward and backward pass with the optimiser's step does."""
        entries, numbers = self.rows * self.visited, self.visited * self.dim
        b = self.number_bytes
        if self.chunk is None:
            # Of blocks that are kept one by one, the sum is given back beyond twice that size.
            is_returned = self._dense_bytes(b * entries, b * numbers) > 2 * KEPT_BY_ALLOCATOR
            return Work(
                product_flops=6 * entries * self.dim,
                is_rounded=False,
                passes=(self.matrices + 5) * entries,
                streamed_bytes=b * (DENSE_TRAFFIC + self._further_traffic) * numbers,
                fresh_bytes=b * ((self.matrices + 4) * entries + 5 * numbers) * is_returned,
            )
        is_rounded = self.precision.rounds_on(self.device)
        is_once = self.keeps_cosines or self.waits_in_gradient or self.is_single_walk
        passes = 10 if self.is_scaled else 40
        passes += 3 * is_rounded + 3 * self.keeps_cosines
        traffic = IN_WALK_TRAFFIC if self.updates_in_walk else STREAMED_TRAFFIC
        traffic += SAMPLED_TRAFFIC * (self.visited < self.classes) + self._further_traffic
        # Terms are new in every chunk and on the way back, unless they are scaled cosines.
        fresh: float = b * (0 if self.is_scaled else 8) * entries
        # Large pages leave a quarter of the gradient's first touches.
        fresh += 0 if self.updates_in_walk else b * self.classes * self.dim / 4
        fresh += 2 * entries if self.keeps_cosines else 0
        return Work(
            product_flops=(6 if is_once else 8) * entries * self.dim,
            is_rounded=is_rounded,
            passes=passes * entries + 4 * is_rounded * numbers,
            streamed_bytes=b * traffic * numbers,
            fresh_bytes=fresh,
        )


def head_cost(config: TrainConfig, identities: int, *, processes: int = 1) -> HeadCost:
    """Return the cost of a config's head in the process that holds most classes.

    Raises:
        ValueError: If the loss or an option of it is unknown.
    """
    loss = make_loss(config.loss.name, **config.loss.options)
    precision = precision_named(config.head.precision)
    classes = -(-identities // processes)
    chunk = config.head.chunk
    if chunk is None and identities > DENSE_CLASSES:
        chunk = CHUNK
    if chunk is None and (config.head.updates_in_walk or not precision.is_plain):
        chunk = UNTOLD_CHUNK
    rows = config.batch_size // config.accumulate
    return HeadCost(
        rows=2 * rows if loss.has_proxy_rows else rows,
        classes=classes,
        visited=min(classes, max(math.ceil(config.head.sample_rate * classes), 1)),
        dim=config.backbone.dim,
        chunk=chunk,
        loss=loss,
        precision=precision,
        updates_in_walk=config.head.updates_in_walk,
        moments=config.optimizer.moments,
        number_bytes=torch.float64.itemsize if config.precision == "float64" else 4,
        device=torch.device(config.device).type,
    )
