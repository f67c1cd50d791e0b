"""The FAISS index: all rows scanned as codes of four bits, the likeliest scored from float32.

    code of a row    = for every 2 numbers the nearest of 16 learnt points; dim bytes / 4 a row
    candidates       = the rows whose codes score highest, read through tables in registers
    answer           = the k best of them by true score

No cells and no graph. Templates of people stand nearly at right angles to each other, so cells hold
no neighbourhoods: IVF that visits a quarter of 1,024 cells lost 5 % of the people asked for, these
codes none, in as little time. A graph (HNSW) forgets nobody in faiss; here a removed code is gone.
docs/search.md has the numbers. Below `smallest` rows nothing is coded and the search is exact.

Source: André, Kermarrec, Le Scouarnec, "Cache locality is not enough", VLDB 2015; the package
    faiss (MIT licence), `IndexPQFastScan`.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.errors import DataError, MissingExtraError
from marginface.search.exact_index import search_table
from marginface.search.index import Ids, Nearest, Rows, filled, rescored
from marginface.search.index_file import StoredIndex, read_index, write_index
from marginface.search.table import RowTable, TableIndex

# Rows the points are learnt from, and probes searched at a time.
LEARNT_FROM = 20_000
PROBES = 1024
# Codes are learnt anew once there are so many times the rows they were learnt from.
OUTGROWN = 4


class FaissIndex(TableIndex):
    """Rows in memory with codes beside them: 4 dim bytes a row, and dim / 4 of codes.

    Args:
        dim: Length of a row.
        candidates: Rows scored exactly for each probe; at least 10 k are.
        smallest: Number of rows from which on they are coded, at least 640.

    Raises:
        MissingExtraError: If faiss is not installed.
    """

    def __init__(self, dim: int, *, candidates: int = 128, smallest: int = 10_000) -> None:
        super().__init__(dim)
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {candidates}")
        if smallest < 640:  # 39 rows for each of 16 points, below which faiss warns
            raise ValueError(f"smallest must be at least 640, got {smallest}")
        self._faiss = load_faiss()
        self.candidates, self.smallest = candidates, smallest
        self._codes: Any = None
        self._code_ids = np.empty(0, np.int64)
        self._learnt_at = 0

    def save(self, path: str | Path) -> None:
        """Write rows and codes to a file that, when new, may be read by its owner only.

        Raises:
            CheckpointWriteError: If the disk refuses; the old file is then untouched.
        """
        self._prepare()
        with self._turns.reading():
            extra = {}
            if self._codes is not None:
                codes = self._faiss.serialize_index(self._codes)
                learnt = np.array([self._learnt_at])
                extra = {"codes": codes, "code_ids": self._code_ids, "learnt_at": learnt}
            ids, rows = self._table.ids, self._table.rows
            write_index(Path(path), StoredIndex(kind="faiss", ids=ids, rows=rows, extra=extra))

    @classmethod
    def load(
        cls, path: str | Path, *, candidates: int = 128, smallest: int = 10_000
    ) -> "FaissIndex":
        """Read an index back; its codes are parsed by faiss, so load no stranger's file.

        Raises:
            DataError: If the file is absent, cut off, altered or another kind of file.
            MissingExtraError: If faiss is not installed.
        """
        stored = read_index(Path(path), "faiss")
        index = cls(stored.rows.shape[1], candidates=candidates, smallest=smallest)
        index._table.add(stored.ids, stored.rows)
        if stored.extra:
            try:
                index._take_codes(**stored.extra)
            except (TypeError, ValueError, RuntimeError, AssertionError) as cause:
                raise DataError(f"{path}: codes do not fit the rows; build it anew") from cause
        return index

    def _take_codes(self, codes: NDArray[np.uint8], code_ids: Ids, learnt_at: Ids) -> None:
        self._codes = self._faiss.deserialize_index(codes)
        self._code_ids, self._learnt_at = code_ids, int(learnt_at[0])
        if (
            self._codes.ntotal != len(code_ids)
            or self._codes.d != _even(self.dim)
            or not np.array_equal(np.sort(code_ids), self._table.ids)
        ):
            raise ValueError("other rows")

    def _add(self, ids: Ids, rows: Rows) -> None:
        if self._codes is not None:
            self._drop_codes(ids[self._table.holds(ids)])
            self._codes.add(self._padded(rows))
            self._code_ids = np.concatenate([self._code_ids, ids])
        self._table.add(ids, rows)

    def _remove(self, ids: Ids) -> None:
        self._table.remove(ids)
        if self._codes is not None:
            self._drop_codes(ids)

    def _clear(self) -> None:
        self._table = RowTable(self.dim)
        self._codes, self._code_ids, self._learnt_at = None, np.empty(0, np.int64), 0

    def _drop_codes(self, ids: Ids) -> None:
        """Take codes out, and write those of the last block of 32 anew.

        In faiss 1.15 the rest of that block keeps what stood there, and what is added next is
        mixed with it (bitwise or) and found no more.
        """
        if not len(ids):
            return
        kept = np.flatnonzero(~np.isin(self._code_ids, ids))
        whole = kept[: len(kept) // self._codes.bbs * self._codes.bbs]
        last = self._code_ids[kept[len(whole) :]]
        self._codes.remove_ids(np.setdiff1d(np.arange(len(self._code_ids)), whole))
        self._code_ids = np.concatenate([self._code_ids[whole], last])
        if len(last):
            self._codes.add(self._padded(self._table.rows[self._table.places(last)]))

    def _outgrown(self) -> bool:
        return len(self) >= max(self.smallest, OUTGROWN * self._learnt_at)

    def _prepare(self) -> None:
        """Learn and write the codes where they are due."""
        if not self._outgrown():
            return
        with self._turns.writing():
            if not self._outgrown():
                return
            rows, size = self._table.rows, _even(self.dim)
            kind = f"PQ{size // 2}x4fs"
            codes = self._faiss.index_factory(size, kind, self._faiss.METRIC_INNER_PRODUCT)
            chosen = np.unique(np.linspace(0, len(rows) - 1, LEARNT_FROM).astype(np.int64))
            codes.train(self._padded(rows[chosen]))
            for start in range(0, len(rows), LEARNT_FROM):
                codes.add(self._padded(rows[start : start + LEARNT_FROM]))
            self._codes, self._code_ids = codes, self._table.ids.copy()
            self._learnt_at = len(rows)

    def _search(self, probes: Rows, k: int, exactly: bool) -> Nearest:
        count = max(self.candidates, 10 * k)
        if exactly or self._codes is None or count >= len(self):
            return search_table(probes, self._table, k)
        found = []
        for start in range(0, len(probes), PROBES):
            part = probes[start : start + PROBES]
            _, places = self._codes.search(self._padded(part), count)
            for probe, each in zip(part, places, strict=True):
                ids = self._code_ids[each[each >= 0]]
                rows = self._table.rows[self._table.places(ids)]
                found.append(rescored(probe, ids, rows, k))
        return filled(found, k)

    def _padded(self, rows: Rows) -> Rows:
        return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, _even(self.dim) - self.dim))))


def load_faiss() -> Any:
    """Return the module faiss.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        return importlib.import_module("faiss")
    except ModuleNotFoundError as cause:
        raise MissingExtraError(
            "the index 'faiss' needs the package faiss-cpu, which is not installed; get it with "
            "pip install 'marginface[faiss]', or take the index 'exact'"
        ) from cause


def _even(dim: int) -> int:
    return dim + dim % 2
