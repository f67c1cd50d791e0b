"""The exact index: every row compared with every probe. The answer is proven, see `exact`."""

from pathlib import Path

import torch

from marginface.errors import unknown_name
from marginface.search.exact import PRODUCTS, search_topk
from marginface.search.index import Ids, Nearest, Rows
from marginface.search.index_file import StoredIndex, read_index, write_index
from marginface.search.table import RowTable, TableIndex


class ExactIndex(TableIndex):
    """Rows in memory, all of them read for every search; 4 dim bytes a row and nothing else.

    Args:
        dim: Length of a row.
        products: "float32", "bfloat16" or "int8"; changes the speed only, see `search_topk`. A few
            probes are limited by reading the rows, where float32 is fastest.

    Example:
        >>> import numpy as np
        >>> index = ExactIndex(2)
        >>> index.add([7, 9], np.eye(2, dtype=np.float32))
        >>> index.search(np.array([[0.6, 0.8]], np.float32), 1).ids
        array([[9]])
    """

    def __init__(self, dim: int, *, products: str = "float32") -> None:
        super().__init__(dim)
        if products not in PRODUCTS:
            raise unknown_name("products", products, PRODUCTS)
        self.products = products

    def save(self, path: str | Path) -> None:
        """Write the rows to a file that, when new, may be read by its owner only.

        Raises:
            CheckpointWriteError: If the disk refuses; the old file is then untouched.
        """
        with self._turns.reading():
            ids, rows = self._table.ids, self._table.rows
            write_index(Path(path), StoredIndex(kind="exact", ids=ids, rows=rows, extra={}))

    @classmethod
    def load(cls, path: str | Path, *, products: str = "float32") -> "ExactIndex":
        """Read an index back.

        Raises:
            DataError: If the file is absent, cut off, altered or another kind of file.
        """
        stored = read_index(Path(path), "exact")
        index = cls(stored.rows.shape[1], products=products)
        index.add(stored.ids, stored.rows)
        return index

    def _add(self, ids: Ids, rows: Rows) -> None:
        self._table.add(ids, rows)

    def _remove(self, ids: Ids) -> None:
        self._table.remove(ids)

    def _clear(self) -> None:
        self._table = RowTable(self.dim)

    def _search(self, probes: Rows, k: int, exactly: bool) -> Nearest:
        return search_table(probes, self._table, k, products=self.products)


def search_table(probes: Rows, table: RowTable, k: int, *, products: str = "float32") -> Nearest:
    """Return the k best rows of a table for every probe, exactly."""
    rows = torch.from_numpy(table.rows)
    found = search_topk(torch.from_numpy(probes), rows, k, products=products, longest=table.longest)
    ids = found.rows.numpy()
    there = ids >= 0
    ids[there] = table.ids[ids[there]]
    return Nearest(ids=ids, scores=found.scores.numpy())
