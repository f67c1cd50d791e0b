"""Every probe compared with every gallery entry, in blocks, without sorting a list.

    rank = 1 + entries of other people with score >= the best of the own person

Source: as `identification`, which makes rates of it.
Differs: nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.evaluation.scores import FAILED

# Scores of one block of probes with the gallery: 8 MiB of float32, read again while in the cache.
BLOCK = 1 << 21
# Probes of a block where the gallery is so large that fewer would fit: products of few rows crawl.
LEAST = 128

Scores = NDArray[np.floating[Any]]
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Searches:
    """What came of each probe's search in one gallery.

    Attributes:
        own: Best score with the own person; -inf for non-mated probes, shape (probes,).
        other: Best score with anybody else, shape (probes,).
        rank: Of the own person, from 1; 0 for non-mated probes, shape (probes,).
        is_mated: Whether the person is enrolled, shape (probes,).
        gallery: Number of entries.
        highest: The highest of all scores with anybody else, ascending, as many as were asked for.
    """

    own: Scores
    other: Scores
    rank: Codes
    is_mated: NDArray[np.bool_]
    gallery: int
    highest: Scores = field(default_factory=lambda: np.empty(0))


def search_gallery(
    probes: Scores,
    gallery: Scores,
    *,
    probe_identity: ArrayLike,
    gallery_identity: ArrayLike,
    highest: int = 0,
) -> Searches:
    """Compare every probe with every entry, a block of probes at a time; nothing is sorted.

    Args:
        probes: Unit rows, shape (probes, dim); a row of zeros is a probe without a face.
        gallery: Unit rows, shape (entries, dim).
        probe_identity: The person of each probe, whole numbers or names, shape (probes,).
        gallery_identity: The person of each entry; a person may have several entries.
        highest: How many of the highest scores with anybody else to keep, over all probes.

    Raises:
        ValueError: If shapes differ or a score is NaN.
    """
    _check_rows("probes", probes, probe_identity)
    _check_rows("gallery", gallery, gallery_identity)
    codes, order, starts = entries_by_person(
        np.asarray(probe_identity), np.asarray(gallery_identity)
    )
    if (np.diff(order) != 1).any():
        gallery = gallery[order]
    failed = ~gallery.any(axis=1)
    count = len(probes)
    own, other = np.full((2, count), FAILED, dtype=np.result_type(probes, gallery))
    rank = np.zeros(count, dtype=np.int64)
    kept = np.empty(0, dtype=own.dtype)
    buffer = np.empty((_rows_of_block(count, len(gallery)), len(gallery)), dtype=own.dtype)
    for rows in _blocks(count, len(buffer)):
        products = np.matmul(probes[rows], gallery.T, out=buffer[: rows.stop - rows.start])
        products[:, failed] = FAILED
        products[~probes[rows].any(axis=1)] = FAILED
        _read_block(products, codes[rows], starts, own[rows], other[rows], rank[rows])
        if highest:
            kept = _highest(kept, products, other[rows], highest)
    if np.isnan(own).any() or np.isnan(other).any():
        raise ValueError("probes and gallery must be finite, got NaN among their scores")
    return Searches(
        own=own,
        other=other,
        rank=rank,
        is_mated=codes >= 0,
        gallery=len(gallery),
        highest=np.sort(kept),
    )


def _rows_of_block(probes: int, entries: int) -> int:
    return min(probes, max(LEAST, BLOCK // max(entries, 1)))


def _blocks(probes: int, rows: int) -> Iterator[slice]:
    for start in range(0, probes, rows):
        yield slice(start, min(start + rows, probes))


def _check_rows(name: str, rows: Scores, identity: ArrayLike) -> None:
    if rows.ndim != 2 or len(rows) == 0 or np.shape(identity) != (len(rows),):
        raise ValueError(
            f"{name} must be rows of shape (n, dim) with one identity each, "
            f"got {rows.shape} and identities of shape {np.shape(identity)}"
        )


def entries_by_person(probe: ArrayLike, gallery: ArrayLike) -> tuple[Codes, Codes, Codes]:
    """Return each probe's person among the enrolled (or -1), the entries by person, and starts."""
    people, codes = np.unique(gallery, return_inverse=True)
    probe = np.asarray(probe)
    order = np.argsort(codes, kind="stable")
    starts = np.append(0, np.cumsum(np.bincount(codes)))
    place = np.searchsorted(people, probe).clip(max=people.size - 1)
    return np.where(people[place] == probe, place, -1), order, starts


def _read_block(
    products: Scores, codes: Codes, starts: Codes, own: Scores, other: Scores, rank: Codes
) -> None:
    """Fill in one block of probes; own entries are taken out of `products`."""
    mated = np.flatnonzero(codes >= 0)
    if starts.size - 1 == products.shape[1]:  # one entry a person
        own[mated] = products[mated, codes[mated]]
        products[mated, codes[mated]] = FAILED
    else:
        for row in mated:
            entries = slice(starts[codes[row]], starts[codes[row] + 1])
            own[row] = products[row, entries].max()
            products[row, entries] = FAILED
    other[:] = products.max(axis=1)
    # A probe whose own entry beats all others is of rank 1; only the rest are counted.
    rank[mated] = 1
    late = mated[other[mated] >= own[mated]]
    rank[late] += np.count_nonzero(products[late] >= own[late, None], axis=1)
    # Failed entries rank behind every score, also behind a failed own one.
    rank[mated[np.isneginf(own[mated])]] = products.shape[1] + 1


def _highest(kept: Scores, products: Scores, best: Scores, count: int) -> Scores:
    """Return the `count` highest of the kept scores and those of a block, in no order."""
    # Most rows hold nothing above the lowest one kept, and their best score says so.
    if kept.size == count:
        lowest = kept.min()
        products = products[best > lowest]
        products = products[products > lowest]
    together = np.concatenate([kept, products.ravel()])
    if together.size <= count:
        return together
    return np.partition(together, together.size - count)[-count:]
