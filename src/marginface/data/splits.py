"""Who is trained on, who is judged on, and which pairs judge: never one person on both sides."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from marginface.data.pairs import PairList, Picture
from marginface.errors import DataError, ProtocolFileError, counted
from marginface.files import write_atomically


def split_identities(
    identities: Iterable[str],
    *,
    val_fraction: float = 0.2,
    val_count: int | None = None,
    seed: int = 0,
) -> tuple[list[str], list[str]]:
    """Part people into those to train on and those to judge on, both sorted.

    Each person's side hangs on a hash of seed and name, so a person added later moves few others.

    Args:
        identities: Names; doubles count once.
        val_fraction: Share to judge on, in (0, 1).
        val_count: How many to judge on, instead of the share.
        seed: Another seed, another split.

    Raises:
        DataError: If a side would be empty.

    Example:
        >>> split_identities(["anna", "berta", "carl", "dora"], val_count=1)
        (['anna', 'carl', 'dora'], ['berta'])
    """
    names = sorted(set(identities))
    if val_count is None:
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must lie in (0, 1), got {val_fraction}")
        val_count = round(val_fraction * len(names))
    if not 0 < val_count < len(names):
        raise DataError(
            f"a split needs people on both sides, got {val_count:,} of {len(names):,} to judge on"
        )
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    return sorted(drawn[val_count:]), sorted(drawn[:val_count])


def read_identity_list(path: str | Path) -> list[str]:
    """Read one name a line; empty lines and those beginning with # are passed over.

    Raises:
        ProtocolFileError: If the file is absent, empty, or names someone twice.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        reason = getattr(cause, "strerror", None) or "not UTF-8 text"
        raise ProtocolFileError(f"identity list {path} could not be read ({reason})") from cause
    first: dict[str, int] = {}
    for line, text in enumerate(lines, 1):
        name = text.strip()
        if not name or name.startswith("#"):
            continue
        if name in first:
            raise ProtocolFileError(
                f"{path} line {line}: {name!r} stands in line {first[name]} too"
            )
        first[name] = line
    if not first:
        raise ProtocolFileError(f"identity list {path} must hold one name a line, got none")
    return list(first)


def write_identity_list(identities: Iterable[str], path: str | Path) -> None:
    """Write one name a line, in one step.

    Raises:
        CheckpointWriteError: If the disk refuses.
    """
    write_atomically(Path(path), "".join(f"{name}\n" for name in identities))


def make_pairs(
    names: Sequence[str], *, folds: int = 10, pairs_per_fold: int, seed: int = 0
) -> PairList:
    """Draw a pair list in which no person stands in two folds.

    Mated pairs are taken from every person of the fold in turn, so that people with many pictures
    do not outweigh the others.

    Args:
        names: "identity/identity_0001.jpg" of each picture.
        folds: At least 1.
        pairs_per_fold: Of each kind, as in LFW's header.
        seed: Another seed, another list.

    Raises:
        DataError: If the pictures cannot make so many pairs.
        ValueError: If a name is not of that form.
    """
    if folds < 1 or pairs_per_fold < 1:
        raise ValueError(
            f"folds and pairs_per_fold must be positive, got {folds}, {pairs_per_fold}"
        )
    people: dict[str, list[Picture]] = {}
    for picture in map(_picture, names):
        people.setdefault(picture[0], []).append(picture)
    generator = np.random.default_rng(seed)
    order = [sorted(people)[index] for index in generator.permutation(len(people))]
    # Dealt out by number of pictures, so that every fold can make its mated pairs.
    order.sort(key=lambda name: -len(people[name]))
    _check_possible([len(people[name]) for name in order], folds, pairs_per_fold)
    first: list[Picture] = []
    second: list[Picture] = []
    for fold in range(folds):
        group = [people[name] for name in order[fold::folds]]
        pairs = _mated(group, pairs_per_fold, generator)
        pairs += _nonmated(group, pairs_per_fold, generator)
        first += [pair[0] for pair in pairs]
        second += [pair[1] for pair in pairs]
    kinds = np.repeat([True, False], pairs_per_fold)
    return PairList(
        first=first,
        second=second,
        is_mated=np.tile(kinds, folds),
        fold=np.repeat(np.arange(folds), 2 * pairs_per_fold).astype(np.int64),
    )


def _check_possible(sizes: list[int], folds: int, count: int) -> None:
    """Raise unless people of so many pictures, most first, make so many pairs in every fold."""
    for fold in range(folds):
        group = sizes[fold::folds]
        for kind, possible in zip(("mated", "nonmated"), _possible(group), strict=True):
            if possible < count:
                raise DataError(
                    f"fold {fold + 1} can make {possible:,} {kind} pairs of "
                    f"{counted(len(group), 'person', 'people')}, {count:,} were asked for; "
                    f"{_what_would_do(sizes, folds, count)}"
                )


def _what_would_do(sizes: list[int], folds: int, count: int) -> str:
    """Name fewer pairs in as many folds, and as many pairs in fewer folds; else two folds."""

    def most(parts: int) -> int:
        return min(min(_possible(sizes[part::parts])) for part in range(parts))

    ways = [f"--pairs-per-fold {here}"] if (here := most(folds)) else []
    fewer = [parts for parts in range(folds - 1, 0, -1) if most(parts) >= count]
    ways += [f"--folds {fewer[0]}"] if fewer else []
    if not ways and folds > 2 and (in_two := most(2)):
        ways = [f"--folds 2 --pairs-per-fold {in_two}"]
    if ways:
        return f"ask for {' or '.join(ways)}, or bring more people"
    return "bring more people, with two pictures or more each"


def _possible(sizes: ArrayLike) -> tuple[int, int]:
    """Return how many mated and nonmated pairs people of so many pictures make."""
    held = np.asarray(sizes, np.int64)
    mated = int((held * (held - 1)).sum()) // 2
    return mated, int(held.sum() ** 2 - (held**2).sum()) // 2


def _picture(name: str) -> Picture:
    identity, _, file = name.partition("/")
    number = file.rpartition(".")[0].removeprefix(f"{identity}_")
    if not number.isdecimal():
        raise ValueError(f"names must read identity/identity_0001.jpg, got {name!r}")
    return identity, int(number)


def _mated(
    group: list[list[Picture]], count: int, generator: np.random.Generator
) -> list[tuple[Picture, Picture]]:
    per_person = []
    for pictures in group:
        pairs = list(combinations(sorted(pictures), 2))
        per_person.append([pairs[index] for index in generator.permutation(len(pairs))])
    rounds = max((len(pairs) for pairs in per_person), default=0)
    taken = [pairs[turn] for turn in range(rounds) for pairs in per_person if turn < len(pairs)]
    return sorted(taken[:count])


def _nonmated(
    group: list[list[Picture]], count: int, generator: np.random.Generator
) -> list[tuple[Picture, Picture]]:
    sizes = np.array([len(pictures) for pictures in group])
    _, possible = _possible(sizes)
    if possible < 4 * count:
        flat = [picture for pictures in group for picture in pictures]
        every = [(a, b) for a, b in combinations(sorted(flat), 2) if a[0] != b[0]]
        chosen = generator.choice(len(every), size=count, replace=False)
        return sorted(every[index] for index in chosen)
    taken: set[tuple[Picture, Picture]] = set()
    while len(taken) < count:
        one, other = generator.choice(len(group), size=2, replace=False)
        pair = [group[row][int(generator.integers(sizes[row]))] for row in (one, other)]
        taken.add((min(pair), max(pair)))
    return sorted(taken)
