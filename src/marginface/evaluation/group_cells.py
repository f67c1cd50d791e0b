"""Which pairs belong to which group, and how a number becomes a group."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import unknown_name

ALL = "all"
DIFFERENT = "different groups"
UNLABELLED = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """A set of pairs judged together.

    Attributes:
        name: "all", a group, "different groups", or "a × b".
        pairs: Which pairs, shape (pairs,).
        is_within: Whether both pictures of its pairs are in one group; also true of "all".
    """

    name: str
    pairs: NDArray[np.bool_]
    is_within: bool


def make_cells(
    first_group: ArrayLike, second_group: ArrayLike, pairs: int, order: Sequence[str] | None
) -> list[Cell]:
    """Return all pairs, each group, all mixed pairs, and each mixture that has pairs.

    Args:
        first_group: The group of each first picture, text; "" where nobody labelled it.
        second_group: The group of each second picture.
        pairs: How many there must be.
        order: The groups in their order; sorted by default. One without pairs is kept.

    Raises:
        ValueError: If a shape is another, no pair has two labels, or `order` lacks a group.
    """
    sides = []
    for name, values in (("first_group", first_group), ("second_group", second_group)):
        column = np.asarray(values).astype(np.str_)
        if column.shape != (pairs,):
            raise ValueError(f"{name} must have shape ({pairs},), got {column.shape}")
        sides.append(column)
    one, other = sides
    found = sorted({*one.tolist(), *other.tolist()} - {UNLABELLED})
    groups = found if order is None else list(order)
    for group in found:
        if group not in groups:
            raise unknown_name("group", group, groups)
    if taken := sorted({ALL, DIFFERENT} & set(groups)):
        raise ValueError(f"groups must not be called {taken[0]!r}, which names a row of the record")
    is_labelled = (one != UNLABELLED) & (other != UNLABELLED)
    if not is_labelled.any():
        raise ValueError(f"groups must label both pictures of a pair, got none of {pairs:,} so")
    cells = [Cell(name=ALL, pairs=np.ones(pairs, np.bool_), is_within=True)]
    cells += [
        Cell(name=group, pairs=(one == group) & (other == group), is_within=True)
        for group in groups
    ]
    mixed = is_labelled & (one != other)
    if mixed.any():
        cells.append(Cell(name=DIFFERENT, pairs=mixed, is_within=False))
    for a, b in combinations(groups, 2):
        both = ((one == a) & (other == b)) | ((one == b) & (other == a))
        if both.any() and len(groups) > 2:
            cells.append(Cell(name=f"{a} × {b}", pairs=both, is_within=False))
    return cells


def quantile_bins(values: ArrayLike, *, bins: int = 3) -> tuple[list[str], list[str]]:
    """Cut numbers into groups of about equally many, by their own quantiles.

    Equal numbers are always in one group, so with many ties there may be fewer groups. NaN stands
    for a number nobody gave and becomes "".

    Args:
        values: One number a picture, shape (pictures,).
        bins: How many groups are wanted, at least 2.

    Returns:
        The group of each picture, and the groups from low to high. A group is named by the lowest
        and the highest number in it.

    Example:
        >>> quantile_bins([1.0, 2.0, 3.0, 4.0, float("nan")], bins=2)
        (['1 to 2', '1 to 2', '3 to 4', '3 to 4', ''], ['1 to 2', '3 to 4'])
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1:
        raise ValueError(f"values must have shape (pictures,), got {numbers.shape}")
    if bins < 2:
        raise ValueError(f"bins must be at least 2, got {bins}")
    has_number = np.isfinite(numbers)
    known = numbers[has_number]
    if known.size == 0:
        raise ValueError(f"values must hold a number, got none among {numbers.size:,}")
    edges = np.quantile(known, np.arange(1, bins) / bins, method="inverted_cdf")
    codes = np.searchsorted(np.unique(edges), numbers, side="left")
    spans = [known[codes[has_number] == code] for code in np.unique(codes[has_number])]
    labels = _names(spans)
    row = np.searchsorted(np.unique(codes[has_number]), codes)
    texts = [
        labels[place] if given else UNLABELLED
        for place, given in zip(row.tolist(), has_number.tolist(), strict=True)
    ]
    return texts, labels


def _names(spans: list[NDArray[np.float64]]) -> list[str]:
    """Name each group by its ends, with as many digits as keep the names apart."""
    for digits in (3, 6, 17):
        ends = [(f"{part.min():.{digits}g}", f"{part.max():.{digits}g}") for part in spans]
        names = [low if low == high else f"{low} to {high}" for low, high in ends]
        if len({end for pair in ends for end in set(pair)}) == sum(len(set(pair)) for pair in ends):
            break
    return names
