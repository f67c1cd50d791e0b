"""What a user knows of her pictures: a CSV with one row a picture, joined onto pairs.

    picture,pose,light
    anna/anna_0001.jpg,12.5,indoor
    anna/anna_0002,,outdoor            the ending may be left out; an empty cell is no label

A column of which every value is a number is cut into groups at its own quantiles; any other column
holds the groups themselves.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from marginface.data.pairs import PairList, picture_stem
from marginface.data.pictures import ENDINGS
from marginface.errors import ProtocolFileError, unknown_name
from marginface.evaluation.group_cells import UNLABELLED, quantile_bins

KEY_COLUMN = "picture"


@dataclass(frozen=True, kw_only=True)
class PairGroups:
    """The group of each picture of each pair.

    Args:
        column: Where the groups come from.
        first: The group of each first picture; "" where nobody labelled it.
        second: The group of each second picture.
        order: The groups in their order.
        bins: How many groups a column of numbers was cut into; 0 where it was not cut.
    """

    column: str
    first: list[str]
    second: list[str]
    order: list[str]
    bins: int


def read_column(path: str | Path, column: str) -> dict[str, str]:
    """Read one column of a picture table: name of the picture without its ending to the text.

    Raises:
        ProtocolFileError: If the file does not parse, has no such columns, or names a picture
            twice.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        reason = getattr(cause, "strerror", None) or str(cause)
        raise ProtocolFileError(f"groups {path} could not be read ({reason})") from cause
    header = [name.strip() for name in rows[0]] if rows else []
    if KEY_COLUMN not in header:
        raise ProtocolFileError(
            f"{path} line 1: the header must hold the column {KEY_COLUMN!r}, got "
            f"{', '.join(header) or 'nothing'}"
        )
    if column not in header or column == KEY_COLUMN:
        others = [name for name in header if name != KEY_COLUMN]
        raise ProtocolFileError(f"{path} line 1: {unknown_name('column', column, others)}")
    key, place = header.index(KEY_COLUMN), header.index(column)
    found: dict[str, str] = {}
    for line, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(header):
            raise ProtocolFileError(
                f"{path} line {line}: a row must have {len(header)} columns, got {len(row)}"
            )
        stem = _stem(row[key].strip())
        if stem in found:
            raise ProtocolFileError(f"{path} line {line}: picture {row[key]!r} stands twice")
        found[stem] = row[place].strip()
    return found


def pair_groups(pairs: PairList, path: str | Path, column: str, *, bins: int = 3) -> PairGroups:
    """Join a column of a picture table onto pairs.

    Args:
        pairs: The list.
        path: A CSV with a column `picture` and the wanted one.
        column: Which column holds the groups.
        bins: How many groups a column of numbers is cut into, by the quantiles of the pictures
            that stand in the pairs; 0 to take every number as a group. A column with no more
            different numbers than bins is not cut.

    Raises:
        ProtocolFileError: If the file does not parse or labels no picture of the pairs.
        ValueError: If bins is 1 or below 0.
    """
    if bins < 0 or bins == 1:
        raise ValueError(f"bins must be 0 or at least 2, got {bins}")
    table = read_column(path, column)
    sides = [[picture_stem(*picture) for picture in side] for side in (pairs.first, pairs.second)]
    used = sorted({stem for side in sides for stem in side if table.get(stem, UNLABELLED)})
    if not used:
        raise ProtocolFileError(
            f"{path}: column {column!r} must label pictures of {pairs.path or 'the pairs'}, got "
            f"none of them among its {len(table):,}; names are as {sides[0][0]}.jpg"
        )
    numbers = [_number(table[stem]) for stem in used]
    values = {number for number in numbers if number is not None}
    is_cut = None not in numbers and bins > 0 and len(values) > bins
    if is_cut:
        texts, order = quantile_bins([number or 0.0 for number in numbers], bins=bins)
    else:
        texts = [table[stem] for stem in used]
        is_numeric = None not in numbers
        order = sorted(set(texts), key=lambda text: (float(text) if is_numeric else 0.0, text))
    groups = dict(zip(used, texts, strict=True))
    first, second = ([groups.get(stem, UNLABELLED) for stem in side] for side in sides)
    return PairGroups(
        column=column, first=first, second=second, order=order, bins=len(order) if is_cut else 0
    )


def _stem(name: str) -> str:
    # Only a picture's ending goes: a name such as "j.r/j.r_0001" may hold other dots.
    ending = Path(name).suffix
    return name[: -len(ending)] if ending.lower() in ENDINGS else name


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
