"""Training batches, made ahead in background threads.

The content of step k is a pure function of (pack, seed, k): the order of an epoch comes from
(seed, epoch), a picture's changes from (seed, step, its place in the batch). So a run resumes by
starting at step k, bit for bit, with any number of threads.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray

from marginface.axes import Float, Int, Tensor, UInt8
from marginface.data.augmentation import Augmentation
from marginface.data.packs import check_labels
from marginface.data.resized import ResizedFaces, SizedFaces
from marginface.errors import DataError

# One Philox key per purpose, so that order and changes never share numbers.
_ORDER, _CHANGES = 1, 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Pictures and labels of one step.

    Args:
        images: RGB, channels first, 0 to 255; `to_float` makes the network's input.
        labels: Identity of each picture.
        indices: Row of each picture in the set.
        step: From 0, over the whole run.
        epoch: From 0.
    """

    images: UInt8[Tensor, "batch 3 height width"]
    labels: Int[Tensor, " batch"]
    indices: Int[Tensor, " batch"]
    step: int
    epoch: int


def epoch_order(count: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of an epoch, a permutation of `count`; pure in (count, seed, epoch).

    Example:
        >>> sorted(epoch_order(4, seed=0, epoch=7).tolist())
        [0, 1, 2, 3]
    """
    return _generator(_ORDER, seed, epoch).permutation(count)


def to_float(
    images: UInt8[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Map 0..255 to -1..1 in float32; the ends are exact.

    Example:
        >>> to_float(torch.tensor([0, 255, 0], dtype=torch.uint8).reshape(1, 3, 1, 1)).flatten()
        tensor([-1.,  1., -1.])
    """
    return images.to(torch.float32).sub_(127.5).div_(127.5)


class BatchLoader:
    """Iterate over endless training batches of a set of faces.

    The last, incomplete batch of an epoch is dropped. Leaving the `with` block, or `close`, stops
    the threads; so does dropping the loader.

    Args:
        faces: The set; at least two identities.
        batch_size: Pictures in a step, at most as many as the set has.
        seed: Of order and augmentation.
        augmentation: What may happen to a picture; mirroring alone by default.
        size: Side in pixels the network wants; pictures are resized once, by area, and kept.
        workers: Threads; 0 makes every batch when it is asked for.
        prefetch: Batches made ahead, which bounds the memory.
        start_step: The step to begin with.
        places: Which pictures of every batch to make, by their place in it; nothing for all. Each
            is what it is in the whole batch.
        cache_bytes: Memory for decoded and resized pictures; a set that needs more is resized anew
            each time.

    Raises:
        DataError: If the set has one identity, or fewer pictures than a batch.
        ValueError: If a number is outside its range, or a label outside the identities.
    """

    def __init__(
        self,
        faces: SizedFaces,
        *,
        batch_size: int,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        size: int | None = None,
        workers: int = 1,
        prefetch: int = 4,
        start_step: int = 0,
        places: NDArray[np.int64] | None = None,
        cache_bytes: int = 1 << 29,
    ) -> None:
        for name, value, lowest in (
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("workers", workers, 0),
            ("prefetch", prefetch, 1),
            ("start_step", start_step, 0),
            ("size", 1 if size is None else size, 1),
        ):
            if value < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {value}")
        _check(faces, batch_size)
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation or Augmentation()
        self.step = start_step
        self.places = np.arange(batch_size) if places is None else places
        self._faces = faces
        self._pictures = ResizedFaces(faces, size=size, cache_bytes=cache_bytes)
        self._prefetch = prefetch
        self._pool = ThreadPoolExecutor(workers, "marginface-batches") if workers else None
        self._ahead: deque[Future[Batch]] = deque()
        self._orders: dict[int, NDArray[np.int64]] = {}

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass over the set."""
        return len(self._faces.labels) // self.batch_size

    def names(self, batch: Batch) -> list[str]:
        """Return the names of a batch's pictures."""
        return [self._faces.names[index] for index in batch.indices.tolist()]

    def indices(self, step: int) -> NDArray[np.int64]:
        """Return which pictures of the set any step sees, in the whole batch."""
        epoch, number = divmod(step, self.steps_per_epoch)
        return self._order(epoch)[number * self.batch_size : (number + 1) * self.batch_size]

    def make(self, step: int) -> Batch:
        """Return the batch of any step, at once and in this thread."""
        indices = self.indices(step)[self.places]
        drawn = self.augmentation.draw(self.batch_size, _generator(_CHANGES, self.seed, step))
        images = self.augmentation.change(self._pictures.read(indices), drawn[self.places])
        return Batch(
            images=torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
            labels=torch.from_numpy(self._faces.labels[indices]),
            indices=torch.from_numpy(indices.copy()),
            step=step,
            epoch=step // self.steps_per_epoch,
        )

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next step's batch; an error of a thread is raised here."""
        if self._pool is None:
            batch = self.make(self.step)
        else:
            while len(self._ahead) < self._prefetch:
                self._ahead.append(self._pool.submit(self.make, self.step + len(self._ahead)))
            try:
                batch = self._ahead.popleft().result()
            except BaseException:
                # What is left would be counted one step late by the next call.
                self._drop_ahead()
                raise
        self.step += 1
        return batch

    def close(self) -> None:
        """Stop the threads; what they made ahead is dropped."""
        if self._pool is not None:
            self._drop_ahead()
            self._pool.shutdown(wait=True)

    def _drop_ahead(self) -> None:
        while self._ahead:
            self._ahead.pop().cancel()

    def __enter__(self) -> "BatchLoader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _order(self, epoch: int) -> NDArray[np.int64]:
        order = self._orders.get(epoch)
        if order is None:
            order = epoch_order(len(self._faces.labels), seed=self.seed, epoch=epoch)
            # Two are enough, since batches made ahead reach from one epoch into the next.
            latest = sorted([*self._orders.items(), (epoch, order)], key=lambda item: item[0])
            self._orders = dict(latest[-2:])
        return order


def _generator(purpose: int, seed: int, counter: int) -> np.random.Generator:
    """Return the counter-based generator of one purpose, seed and counter."""
    # The lowest word counts the numbers drawn; the counter stands above it and never meets it.
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, counter, 0]))


def _check(faces: SizedFaces, batch_size: int) -> None:
    where = getattr(faces, "path", "the set")
    if len(faces.identities) < 2:
        raise DataError(
            f"training needs at least 2 identities, {where} holds {len(faces.identities)} "
            f"({', '.join(faces.identities)})"
        )
    if len(faces.labels) < batch_size:
        raise DataError(
            f"batch_size must be at most the {len(faces.labels):,} images of {where}, "
            f"got {batch_size:,}"
        )
    check_labels(faces.labels, len(faces.identities))
