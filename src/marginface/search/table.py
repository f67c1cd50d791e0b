"""Rows in memory, in the order of their ids; changed in place, and room to grow."""

import numpy as np
from numpy.typing import NDArray

from marginface.search.index import Ids, Index, Rows, fingerprint_of

# Rows that move at a time when others are removed, so that no second table is made.
BLOCK = 1 << 14


class RowTable:
    """Rows by rising id.

    Args:
        dim: Length of a row.
    """

    def __init__(self, dim: int) -> None:
        self._size = 0
        self._id_room = np.empty(0, np.int64)
        self._room = np.empty((0, dim), np.float32)
        self.longest = 0.0  # what no row's length exceeds; rows that are gone may have been longer

    def __len__(self) -> int:
        return self._size

    @property
    def ids(self) -> Ids:
        """A view of the ids, rising, shape (n,)."""
        return self._id_room[: self._size]

    @property
    def rows(self) -> Rows:
        """A view of the rows, shape (n, dim)."""
        return self._room[: self._size]

    def holds(self, ids: Ids) -> NDArray[np.bool_]:
        """Return which of the ids are there, shape (n,)."""
        if not self._size:
            return np.zeros(len(ids), np.bool_)
        near = np.minimum(np.searchsorted(self.ids, ids), self._size - 1)
        return self.ids[near] == ids

    def places(self, ids: Ids) -> Ids:
        """Return where ids stand.

        Raises:
            ValueError: If one is not there.
        """
        there = self.holds(ids)
        if not there.all():
            lost = ids[~there]
            others = f" and {len(lost) - 1:,} others" if len(lost) > 1 else ""
            raise ValueError(f"ids must be of rows held, got {lost[0]}{others}")
        return np.searchsorted(self.ids, ids)

    def add(self, ids: Ids, rows: Rows) -> None:
        """Take in rows; those whose id is there are replaced."""
        if len(rows):
            self.longest = max(self.longest, float(np.linalg.norm(rows, axis=1).max()))
        there = self.holds(ids)
        self._room[self.places(ids[there])] = rows[there]
        before, after = self._size, self._size + int((~there).sum())
        if after > len(self._room):
            self._grow(max(after, before + before // 2))
        self._room[before:after] = rows[~there]
        self._id_room[before:after] = ids[~there]
        self._size = after
        # Usually new ids are higher than all before, and nothing moves.
        if (np.diff(self.ids[max(0, before - 1) :]) < 0).any():
            order = np.argsort(self.ids)
            self._id_room[:after], self._room[:after] = self.ids[order], self.rows[order]

    def remove(self, ids: Ids) -> None:
        """Take rows out and write zeros where the last ones stood."""
        gone = self.places(ids)
        kept = np.delete(np.arange(self._size), gone)
        for start in range(int(gone.min()), len(kept), BLOCK):
            part = kept[start : start + BLOCK]  # moves to the left only, so nothing unread is lost
            self._room[start : start + len(part)] = self._room[part]
        self._room[len(kept) : self._size] = 0
        self._id_room[: len(kept)] = self.ids[kept]
        self._size = len(kept)

    def _grow(self, size: int) -> None:
        ids, rows = self.ids, self.rows
        self._id_room = np.zeros(size, np.int64)
        self._room = np.zeros((size, rows.shape[1]), np.float32)
        self._id_room[: self._size], self._room[: self._size] = ids, rows


class TableIndex(Index):
    """An index whose rows lie in memory.

    Args:
        dim: Length of a row.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self._table = RowTable(dim)

    def __len__(self) -> int:
        return len(self._table)

    def fingerprint(self) -> str:
        """Return what `fingerprint_of` says of the rows held."""
        with self._turns.reading():
            return fingerprint_of(self._table.ids, self._table.rows)
