"""Scores of a long list of pairs of rows: products of blocks, out of which the pairs are picked.

    score(i, j) = e_i · e_j

A list of fifteen million pairs names few rows many times, so that multiplying all rows that stand
first by all that stand second is cheaper than fetching two rows for each pair. The scores stay
within 1e-6 of float64 for unit rows of up to a few thousand dimensions.

Differs: public code fetches both rows of every pair.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Scores of one product where the list is in order (16 MiB of float32), and where it is not: there
# every further product walks down the whole list again.
SCORES = 1 << 22
SLAB = 1 << 26
# A product inside a large matrix costs about a hundredth of one gathered on its own.
GATHER_COST = 100
# Pairs of one first row that must stand together for the list to count as in order.
RUN = 64
# Pairs gathered at a time on their own, and picked at a time from a product.
ROWS = 1 << 14
PAIRS = 1 << 15

Codes = NDArray[np.int64]
Rows = NDArray[np.floating[Any]]


def pair_cosines(embeddings: Rows, first: Codes, second: Codes) -> Rows:
    """Return the score of each listed pair of rows, shape (pairs,), in the embeddings' dtype.

    Fastest where the pairs of one first row stand together; any order gives the same scores up to
    rounding. Scores are cut to [-1, 1].

    Args:
        embeddings: Unit rows, shape (n, dim).
        first: Row of each pair's first side, shape (pairs,).
        second: Row of the second, shape (pairs,).
    """
    return cosines_of_codes(embeddings, np.arange(len(embeddings)), first, second)


def cosines_of_codes(embeddings: Rows, row_of: Codes, first: Codes, second: Codes) -> Rows:
    """Return the score of each listed pair of codes, as `pair_cosines` does of rows.

    A list of template ids is thus scored without a second list, of their rows.

    Args:
        embeddings: Unit rows, shape (n, dim).
        row_of: The embedding's row of each code, shape (codes,); unused codes may hold anything.
        first: Code of each pair's first side, shape (pairs,).
        second: Code of the second.
    """
    scores = np.empty(len(first), dtype=embeddings.dtype)
    products = math.prod(np.count_nonzero(np.bincount(side)) for side in (first, second))
    if products > GATHER_COST * len(first):
        _gathered(embeddings, row_of, first, second, scores)
    elif np.count_nonzero(first[1:] != first[:-1]) * RUN < len(first):
        _along_list(embeddings, row_of, first, second, scores)
    else:
        _by_slabs(embeddings, row_of, first, second, scores)
    return np.clip(scores, -1, 1, out=scores)


def _gathered(embeddings: Rows, row_of: Codes, first: Codes, second: Codes, scores: Rows) -> None:
    for start in range(0, len(first), ROWS):
        part = slice(start, start + ROWS)
        ones, others = embeddings[row_of[first[part]]], embeddings[row_of[second[part]]]
        np.einsum("pd,pd->p", ones, others, out=scores[part])


def _along_list(embeddings: Rows, row_of: Codes, first: Codes, second: Codes, scores: Rows) -> None:
    """Walk down a list whose first sides stand in runs, so that a stretch of it needs few rows."""
    others, place = _places(second, len(row_of))
    wide = np.ascontiguousarray(embeddings[row_of[others]].T)
    starts = np.append(0, np.flatnonzero(first[1:] != first[:-1]) + 1)
    ends = np.append(starts[1:], len(first))
    tall = max(1, SCORES // others.size)
    for begin in range(0, starts.size, tall):
        runs = range(begin, min(begin + tall, starts.size))
        products = embeddings[row_of[first[starts[runs]]]] @ wide
        for row, run in enumerate(runs):
            pairs = slice(starts[run], ends[run])
            cells = np.take(place, second[pairs], mode="clip")
            np.take(products[row], cells, out=scores[pairs], mode="clip")


def _by_slabs(embeddings: Rows, row_of: Codes, first: Codes, second: Codes, scores: Rows) -> None:
    """Multiply some first rows by all second ones, and pick their pairs from the whole list."""
    ones, _ = _places(first, len(row_of))
    others, other_place = _places(second, len(row_of))
    wide = np.ascontiguousarray(embeddings[row_of[others]].T)
    tall = -(-ones.size // -(-ones.size * others.size // SLAB))
    slab = np.empty((tall, others.size), dtype=embeddings.dtype)
    for start in range(0, ones.size, tall):
        chosen_ones = ones[start : start + tall]
        products = slab[: chosen_ones.size]
        np.matmul(embeddings[row_of[chosen_ones]], wide, out=products)
        cell_of = np.full(row_of.size, -1)
        cell_of[chosen_ones] = np.arange(chosen_ones.size) * others.size
        for begin in range(0, len(scores), PAIRS):
            pairs = slice(begin, begin + PAIRS)
            cells = np.take(cell_of, first[pairs], mode="clip")
            mine = np.flatnonzero(cells >= 0)
            cells = cells.take(mine) + other_place.take(second[pairs].take(mine))
            scores[pairs][mine] = np.take(products.ravel(), cells, mode="clip")


def _places(side: Codes, codes: int) -> tuple[Codes, Codes]:
    """Return the codes a side of the list uses, and where each of all stands among them."""
    used = np.flatnonzero(np.bincount(side, minlength=codes))
    place = np.zeros(codes, dtype=np.int64)
    place[used] = np.arange(used.size)
    return used, place
