"""The kinds of index, as small as they get, and rows for them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.search import ExactIndex, FaissIndex, Index, QdrantIndex

Rows = NDArray[np.float32]


def coded(dim: int) -> Index:
    """Codes from 640 rows on, and all rows of small tests as candidates."""
    return FaissIndex(dim, smallest=640, candidates=600)


KINDS: dict[str, Callable[[int], Any]] = {
    "exact": ExactIndex,
    "bfloat16": lambda dim: ExactIndex(dim, products="bfloat16"),
    "int8": lambda dim: ExactIndex(dim, products="int8"),
    "faiss": coded,
    "qdrant": lambda dim: QdrantIndex(dim, url=":memory:"),
}


def units(count: int, dim: int = 16, seed: int = 0) -> Rows:
    rows = np.random.default_rng(seed).normal(size=(count, dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def near(rows: Rows, noise: float, seed: int = 0) -> Rows:
    moved = rows + noise * units(len(rows), rows.shape[1], seed)
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)


def by_sorting(ids: Any, rows: Rows, probes: Rows, k: int) -> tuple[Any, Rows]:
    """Return ids and scores of the k best, by sorting all: falling score, then rising id."""
    numbers = np.asarray(ids, np.int64)
    best, scores = np.full((len(probes), k), -1), np.full((len(probes), k), -np.inf, np.float32)
    for place, probe in enumerate(probes):
        values = (rows.astype(np.float64) @ probe.astype(np.float64)).astype(np.float32)
        order = np.lexsort((numbers, -values))[:k]
        best[place, : len(order)], scores[place, : len(order)] = numbers[order], values[order]
    return best, scores
