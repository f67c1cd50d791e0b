"""Which pairs belong to which group, and how a number becomes a group."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import unknown_name

ALL = "all"
DIFFERENT = "different groups"
MIXTURE = " × "
UNLABELLED = ""
# With more, the mixtures of two groups would be a table of hundreds of rows.
MOST_MIXED = 12
# As many as there are countries; with more it is people that were given.
MOST_GROUPS = 250


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """A set of pairs judged together.

    Attributes:
        name: "all", a group, "different groups", or "a × b".
        pairs: Which pairs, shape (pairs,).
        is_within: Whether both pictures of its pairs are in one group; also true of "all".
        left_out: Of "different groups", why its mixtures are not listed; else empty.
    """

    name: str
    pairs: NDArray[np.bool_]
    is_within: bool
    left_out: str = ""


def make_cells(
    first_group: ArrayLike, second_group: ArrayLike, pairs: int, order: Sequence[str] | None
) -> list[Cell]:
    """Return all pairs, each group, all mixed pairs, and each mixture that has pairs.

    With more than 12 groups the mixtures are left out, which the cell of all mixed pairs says.

    Args:
        first_group: The group of each first picture, text; "" where nobody labelled it.
        second_group: The group of each second picture.
        pairs: How many there must be.
        order: The groups in their order; sorted by default. One without pairs is kept.

    Raises:
        ValueError: If a shape is another, no pair has two labels, `order` lacks a group, or there
            are more than 250.
    """
    sides = []
    for name, values in (("first_group", first_group), ("second_group", second_group)):
        column = np.asarray(values).astype(np.str_)
        if column.shape != (pairs,):
            raise ValueError(f"{name} must have shape ({pairs},), got {column.shape}")
        sides.append(column)
    names, rows = np.unique(np.concatenate(sides), return_inverse=True)
    found = [name for name in names.tolist() if name != UNLABELLED]
    groups = found if order is None else list(order)
    check_groups(groups)
    for group in found:
        if group not in groups:
            raise unknown_name("group", group, groups)
    places = {group: place for place, group in enumerate(groups)} | {UNLABELLED: -1}
    codes = np.array([places[name] for name in names.tolist()])[rows]
    one, other = np.split(codes, 2)
    is_labelled = (one >= 0) & (other >= 0)
    if not is_labelled.any():
        raise ValueError(f"groups must label both pictures of a pair, got none of {pairs:,} so")
    cells = [Cell(name=ALL, pairs=np.ones(pairs, np.bool_), is_within=True)]
    cells += [
        Cell(name=group, pairs=(one == place) & (other == place), is_within=True)
        for place, group in enumerate(groups)
    ]
    return cells + _mixed_cells(one, other, is_labelled & (one != other), groups)


def check_groups(groups: Sequence[str]) -> None:
    """Check the names of groups, before anything is measured.

    Raises:
        ValueError: If they are too many for a table, or one is the name of another row.
    """
    if len(groups) > MOST_GROUPS:
        raise ValueError(
            f"groups must be at most {MOST_GROUPS}, got {len(groups):,}, as {groups[0]!r} and "
            f"{groups[1]!r}; give a column of groups, not of people or pictures"
        )
    if taken := sorted({ALL, DIFFERENT} & set(groups)):
        raise ValueError(f"groups must not be called {taken[0]!r}, which names a row of the record")


def _mixed_cells(
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    mixed: NDArray[np.bool_],
    groups: Sequence[str],
) -> list[Cell]:
    """Return all mixed pairs, and each mixture that has some, given codes of both sides."""
    if not mixed.any():
        return []
    is_listed = len(groups) <= MOST_MIXED
    left_out = "" if is_listed else f"not listed, since there are more than {MOST_MIXED} groups"
    cells = [Cell(name=DIFFERENT, pairs=mixed, is_within=False, left_out=left_out)]
    if len(groups) == 2 or not is_listed:
        return cells
    mixture = np.where(mixed, np.minimum(one, other) * len(groups) + np.maximum(one, other), -1)
    for code in np.unique(mixture[mixed]).tolist():
        name = MIXTURE.join(groups[place] for place in divmod(code, len(groups)))
        cells.append(Cell(name=name, pairs=mixture == code, is_within=False))
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
