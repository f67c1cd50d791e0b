"""LFW pair lists: which two pictures are compared, and whether they show one person.

    10	300                       folds, pairs of each kind in a fold
    anna	1	4                 mated: pictures 1 and 4 of anna
    anna	1	berta	2         nonmated

A picture is (identity, number); its file is identity/identity_0001 with any ending. Columns are
parted by tabs or spaces. A header of one number is one fold, as in LFW's development lists.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from marginface.errors import ProtocolFileError
from marginface.files import write_atomically

Picture = tuple[str, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class PairList:
    """Pairs in their order, with the fold of each.

    Args:
        first: (identity, number) of each pair's first picture.
        second: The same of the second.
        is_mated: Whether both show one person, shape (pairs,).
        fold: From 0, shape (pairs,).
        path: Where the list was read, for messages.
        lines: The line of each pair in that file, from 1.
    """

    first: list[Picture]
    second: list[Picture]
    is_mated: NDArray[np.bool_]
    fold: NDArray[np.int64]
    path: Path | None = None
    lines: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.first)

    @property
    def identities(self) -> list[str]:
        """Every identity that stands in a pair, sorted."""
        return sorted({identity for identity, _ in [*self.first, *self.second]})


def picture_stem(identity: str, number: int) -> str:
    """Return the name of a picture without its ending.

    Example:
        >>> picture_stem("anna", 7)
        'anna/anna_0007'
    """
    return f"{identity}/{identity}_{number:04d}"


def read_pairs(path: str | Path) -> PairList:
    """Read a pair list in LFW's format.

    Raises:
        ProtocolFileError: If it does not parse, with file and line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        reason = getattr(cause, "strerror", None) or "not UTF-8 text"
        raise ProtocolFileError(f"pair list {path} could not be read ({reason})") from cause
    folds, per_kind = _header(path, lines)
    rows = [(number, text) for number, text in enumerate(lines, 1) if number > 1 and text.strip()]
    if len(rows) != (expected := folds * 2 * per_kind):
        raise ProtocolFileError(
            f"{path} line 1: the header promises {folds} x 2 x {per_kind} = {expected:,} pairs, "
            f"got {len(rows):,}"
        )
    parsed = [_parse(path, number, text) for number, text in rows]
    is_mated = np.array([a[0] == b[0] for a, b in parsed], dtype=np.bool_)
    fold = np.arange(len(rows), dtype=np.int64) // (2 * per_kind)
    for index in range(folds):
        if (mated := int(is_mated[fold == index].sum())) != per_kind:
            line = rows[index * 2 * per_kind][0]
            raise ProtocolFileError(
                f"{path} line {line}: fold {index + 1} must hold {per_kind} mated pairs, "
                f"got {mated}"
            )
    return PairList(
        first=[a for a, _ in parsed],
        second=[b for _, b in parsed],
        is_mated=is_mated,
        fold=fold,
        path=path,
        lines=[number for number, _ in rows],
    )


def write_pairs(pairs: PairList, path: str | Path) -> None:
    """Write a pair list in LFW's format, in one step.

    Raises:
        ValueError: If the folds do not hold equally many pairs of each kind, as the format needs.
        CheckpointWriteError: If the disk refuses.
    """
    folds = int(pairs.fold.max()) + 1 if len(pairs) else 0
    counts = {
        int(np.sum((pairs.fold == fold) & (pairs.is_mated == kind)))
        for fold in range(folds)
        for kind in (True, False)
    }
    if len(counts) != 1:
        raise ValueError(f"every fold must hold equally many pairs of each kind, got {counts}")
    lines = [f"{folds}\t{counts.pop()}"]
    for index in np.lexsort((~pairs.is_mated, pairs.fold)):
        (one, number), (other, other_number) = pairs.first[index], pairs.second[index]
        middle = [] if pairs.is_mated[index] else [other]
        lines.append("\t".join([one, str(number), *middle, str(other_number)]))
    write_atomically(Path(path), "\n".join(lines) + "\n")


def resolve_pairs(
    pairs: PairList, names: Sequence[str], *, left_out: Collection[str] = (), where: str = ""
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows in `names` of each pair's two pictures.

    Args:
        pairs: As read.
        names: "identity/identity_0001.jpg" of each picture there is.
        left_out: Names of pictures that exist but could not be used; they get row -1, so that the
            judge can count them as failures to acquire.
        where: Where `names` come from, for the message.

    Raises:
        ProtocolFileError: If a picture is in neither, or two differ in nothing but their ending,
            with file and line of its pair.
    """
    stems = [_stem(name) for name in names]
    rows = {_stem(name): -1 for name in left_out}
    rows |= {stem: row for row, stem in enumerate(stems)}
    # Each stem's last row is the one kept; any other row is of a second picture.
    others = {stem: row for row, stem in enumerate(stems) if rows[stem] != row}
    found = np.empty((2, len(pairs)), dtype=np.int64)
    for index, both in enumerate(zip(pairs.first, pairs.second, strict=True)):
        for side, picture in enumerate(both):
            row = rows.get(picture_stem(*picture))
            if row is None:
                raise _missing(pairs, index, picture, f" under {where}" if where else "")
            if (other := others.get(picture_stem(*picture))) is not None:
                raise ProtocolFileError(
                    f"{_place(pairs, index)}: image '{picture_stem(*picture)}.*' must be one "
                    f"picture, got {names[other]!r} and {names[row]!r}; leave one of them there"
                )
            found[side, index] = row
    return found[0], found[1]


def _missing(pairs: PairList, index: int, picture: Picture, where: str) -> ProtocolFileError:
    name = f"{picture_stem(*picture)}.*"
    return ProtocolFileError(f"{_place(pairs, index)}: image '{name}' not found{where}")


def _place(pairs: PairList, index: int) -> str:
    return f"{pairs.path} line {pairs.lines[index]}" if pairs.lines else f"pair {index}"


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _header(path: Path, lines: list[str]) -> tuple[int, int]:
    words = lines[0].split() if lines else []
    if len(words) not in (1, 2) or not all(word.isdecimal() and int(word) for word in words):
        raise ProtocolFileError(
            f"{path} line 1: the header must be 'folds pairs', as '10 300', "
            f"got {lines[0] if lines else ''!r}"
        )
    return (1, int(words[0])) if len(words) == 1 else (int(words[0]), int(words[1]))


def _parse(path: Path, line: int, text: str) -> tuple[Picture, Picture]:
    # Only tabs part the columns where there are any, so that identities may hold spaces.
    words = [word.strip() for word in (text.split("\t") if "\t" in text else text.split())]
    place = f"{path} line {line}"
    if len(words) not in (3, 4):
        raise ProtocolFileError(f"{place}: a pair must have 3 or 4 columns, got {text!r}")
    one, other = words[0], words[0] if len(words) == 3 else words[2]
    numbers = [words[1], words[-1]]
    if not all(number.isdecimal() for number in numbers):
        raise ProtocolFileError(f"{place}: picture numbers must be whole, got {text!r}")
    first, second = (one, int(numbers[0])), (other, int(numbers[1]))
    if len(words) == 4 and one == other:
        raise ProtocolFileError(f"{place}: a nonmated pair must name two people, got {text!r}")
    if first == second:
        raise ProtocolFileError(f"{place}: a pair must name two pictures, got {text!r}")
    return first, second
