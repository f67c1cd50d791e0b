"""What every index of rows can do, whether it lies in memory or on a server.

    score(probe, row) = probe · row,  added in float64 and rounded to float32: a cosine of unit rows
    order             = falling score; equal scores by rising id

An index may be wrong about which rows are near; it is never wrong about a score, since what it
proposes is scored again from the float32 rows. So an approximate index can lose a person and
cannot invent one: against the exact search FPIR only falls and FNIR only rises.

    fingerprint = Σ over rows of SHA-256(id, row)  mod 2^256

The sum does not depend on the order in which rows came, and tells whether two places hold the same.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.search.turns import Turns

Ids = NDArray[np.int64]
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nearest:
    """The best rows of each probe, best first.

    Args:
        ids: Of the rows, shape (probes, k); -1 where there are fewer than k.
        scores: Their scores, shape (probes, k); -inf where there is no row.
    """

    ids: Ids
    scores: Rows


class Index(ABC):
    """Rows by id, and the nearest of them. Threads may share it: searches go on side by side.

    Args:
        dim: Length of a row.
    """

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        self.dim = dim
        self._turns = Turns()

    def add(self, ids: ArrayLike, rows: Rows) -> None:
        """Take in rows; an id that is there already gets its new row.

        Args:
            ids: Whole numbers from 0 on, each once, shape (n,).
            rows: Finite, float32, shorter than 1.8e19, shape (n, dim); of unit length if scores are
                to be cosines.

        Raises:
            ValueError: If ids or rows are not so.
        """
        numbers, held = _ids(ids), self._rows(rows, "rows")
        if len(numbers) != len(held):
            raise ValueError(
                f"ids must be one for each of {len(held):,} rows, got {len(numbers):,}"
            )
        if len(numbers):
            with self._turns.writing():
                self._add(numbers, held)

    def remove(self, ids: ArrayLike) -> None:
        """Take rows out: no copy of them stays in the index; files saved before keep theirs.

        Raises:
            ValueError: If an id is not there; then nothing is removed.
        """
        numbers = _ids(ids)
        if len(numbers):
            with self._turns.writing():
                self._remove(numbers)

    def clear(self) -> None:
        """Take all rows out."""
        with self._turns.writing():
            self._clear()

    def search(self, probes: Rows, k: int, *, exactly: bool = False) -> Nearest:
        """Return the k nearest rows of every probe.

        Args:
            probes: Finite, float32, shorter than 1.8e19, shape (n, dim).
            k: How many, at least 1.
            exactly: Compare with every row, as slow as that is.

        Raises:
            ValueError: If probes or `k` are not so.
        """
        held = self._rows(probes, "probes")
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self._prepare()
        with self._turns.reading():
            return self._search(held, k, exactly)

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what `fingerprint_of` says of the rows held."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _add(self, ids: Ids, rows: Rows) -> None: ...

    @abstractmethod
    def _remove(self, ids: Ids) -> None: ...

    @abstractmethod
    def _clear(self) -> None: ...

    @abstractmethod
    def _search(self, probes: Rows, k: int, exactly: bool) -> Nearest: ...

    def _prepare(self) -> None:
        """Do what must be done before a search and changes the index."""
        return

    def _rows(self, rows: Rows, called: str) -> Rows:
        held = np.ascontiguousarray(rows, np.float32)
        if held.ndim != 2 or held.shape[1] != self.dim:
            raise ValueError(f"{called} must have shape (n, {self.dim}), got {held.shape}")
        if not np.isfinite(held).all():
            raise ValueError(f"{called} must be finite, got NaN or infinity")
        # One that is taken in would make every bound of an exact search infinite, even once gone.
        if not np.isfinite(squares := np.einsum("ij,ij->i", held, held)).all():
            raise ValueError(
                f"{called} must be shorter than 1.8e19, whose square float32 holds, got row "
                f"{int(np.argmax(squares))}; divide each by its length"
            )
        return held


def fingerprint_of(ids: ArrayLike, rows: Iterable[Rows]) -> str:
    """Return a text that other ids or rows do not have, whatever their order; 3 µs a row.

    Example:
        >>> rows = np.eye(2, 3, dtype=np.float32)
        >>> fingerprint_of([0, 1], rows) == fingerprint_of([1, 0], rows[::-1])
        True
    """
    numbers = np.asarray(ids, np.int64).tolist()
    return sum_of_digests(digest_of(number, row) for number, row in zip(numbers, rows, strict=True))


def digest_of(number: int, row: Rows) -> str:
    """Return the SHA-256 of an id with its row, 64 hexadecimal digits."""
    content = number.to_bytes(8, "little") + row.astype("<f4").tobytes()
    return hashlib.sha256(content).hexdigest()


def sum_of_digests(digests: Iterable[str]) -> str:
    """Return the fingerprint of rows whose digests are these."""
    return f"{sum(int(each, 16) for each in digests) % (1 << 256):064x}"


def rescored(probe: Rows, ids: Ids, rows: Rows, k: int) -> tuple[Ids, Rows]:
    """Return the k best of some rows for one probe, by true score; shorter if there are fewer.

    Args:
        probe: Shape (dim,).
        ids: Of the rows proposed, shape (n,).
        rows: As they are stored, shape (n, dim).
        k: How many at most.
    """
    scores = (rows.astype(np.float64) * probe.astype(np.float64)).sum(axis=1).astype(np.float32)
    best = np.lexsort((ids, -scores))[:k]
    return ids[best], scores[best]


def filled(found: Sequence[tuple[Ids, Rows]], k: int) -> Nearest:
    """Return what was found for each probe as one record, with nothing where there is nothing."""
    ids = np.full((len(found), k), -1, np.int64)
    scores = np.full((len(found), k), -np.inf, np.float32)
    for place, (numbers, values) in enumerate(found):
        ids[place, : len(numbers)], scores[place, : len(values)] = numbers, values
    return Nearest(ids=ids, scores=scores)


def _ids(ids: ArrayLike) -> Ids:
    numbers = np.asarray(ids)
    if numbers.size == 0:
        return np.empty(0, np.int64)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise ValueError(
            f"ids must be whole numbers of shape (n,), got {numbers.dtype} {numbers.shape}"
        )
    if int(numbers.min()) < 0 or int(numbers.max()) >= 1 << 63:
        raise ValueError(f"ids must lie in [0, 2^63), got {numbers.min()} to {numbers.max()}")
    if len(np.unique(numbers)) != len(numbers):
        raise ValueError("ids must be given once each, got one twice")
    return numbers.astype(np.int64)
