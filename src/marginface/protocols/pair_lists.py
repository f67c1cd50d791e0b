"""Lists of pairs in the layouts they are published in, read into one form.

    LFW, TALFW     pairs.txt; TALFW changes the pictures and keeps the list
    SLLFW          two lines a pair, name/name_0001.jpg; one name is one person
    CALFW, CPLFW   two lines a pair, `name_0001.jpg 1`; 0 is two people, anything else one
    CFP            Protocol/Pair_list_F.txt and _P.txt; Protocol/Split/FP/01/same.txt, diff.txt
    packs          insightface's .bin: pictures and answers, no names
    pairs.csv      picture_a,picture_b,is_mated[,fold][,identity_a,identity_b]

Published lists without folds are cut into ten runs of neighbours where they are judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.pairs import picture_stem, read_pairs
from marginface.errors import ProtocolFileError
from marginface.protocols.columns import (
    read_lines,
    read_table,
    read_words,
    whole_number,
)

Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ListedPairs:
    """Pairs of named pictures.

    Attributes:
        name: What the protocol is called.
        pictures: Each picture once, in the order of its first mention.
        first: Row in `pictures` of each pair's first side, shape (pairs,).
        second: Of its second side.
        is_mated: Whether both show one person, shape (pairs,).
        folds: The published fold of each pair; None where the list has none.
        people: The person on each picture; None where the list does not say.
        repeated: How many pairs stand there again. In a published list they are counted as often
            as they stand, in a pairs.csv they are refused.
    """

    name: str
    pictures: list[str]
    first: Codes
    second: Codes
    is_mated: NDArray[np.bool_]
    folds: Codes | None
    people: list[str] | None
    repeated: int = 0

    def __len__(self) -> int:
        return len(self.is_mated)


def lfw_list(path: str | Path, *, name: str = "lfw") -> ListedPairs:
    """Read LFW's pairs.txt; pictures are named name/name_0001, with any ending."""
    pairs = read_pairs(path)
    one, other = (
        [picture_stem(*picture) for picture in side] for side in (pairs.first, pairs.second)
    )
    flags, folds = pairs.is_mated.tolist(), pairs.fold.tolist()
    listed = _listed(name, path, one, other, flags, folds, pairs.lines)
    return _with_people(listed, [picture.split("/")[0] for picture in listed.pictures])


def sllfw_list(path: str | Path) -> ListedPairs:
    """Read SLLFW's pair_SLLFW.txt: two lines a pair."""
    lines = read_lines(path)
    _check_even(path, lines)
    for number, text in lines:
        if text.count("/") != 1:
            raise ProtocolFileError(
                f"{path} line {number}: a picture must be name/name_0001.jpg, got {text!r}"
            )
    names = [text for _, text in lines]
    owners = [text.split("/")[0] for text in names]
    flags = [a == b for a, b in zip(owners[::2], owners[1::2], strict=True)]
    numbers = [number for number, _ in lines[::2]]
    listed = _listed("sllfw", path, names[::2], names[1::2], flags, None, numbers)
    return _with_people(listed, [picture.split("/")[0] for picture in listed.pictures])


def crossed_list(path: str | Path, *, name: str) -> ListedPairs:
    """Read the lists of CALFW and CPLFW: two lines a pair, picture and answer."""
    rows = read_words(path, ["picture", "answer"])
    _check_even(path, rows)
    answers = [whole_number(path, line, "answer", words[1]) for line, words in rows]
    for pair, (line, _) in enumerate(rows[1::2]):
        if answers[2 * pair] != answers[2 * pair + 1]:
            raise ProtocolFileError(
                f"{path} line {line}: both lines of a pair must give one answer, "
                f"got {answers[2 * pair]} and {answers[2 * pair + 1]}"
            )
    names = [words[0] for _, words in rows]
    numbers = [line for line, _ in rows[::2]]
    flags = [answer != 0 for answer in answers[::2]]
    return _listed(name, path, names[::2], names[1::2], flags, None, numbers)


def cfp_lists(root: str | Path, *, kind: str = "FP") -> ListedPairs:
    """Read CFP's own layout; pictures are named as under ROOT.

    Args:
        root: The folder that holds Protocol and Data.
        kind: "FP", frontal with profile, or "FF", frontal with frontal.
    """
    protocol = Path(root) / "Protocol"
    frontal = _cfp_pictures(protocol / "Pair_list_F.txt")
    other = frontal if kind == "FF" else _cfp_pictures(protocol / "Pair_list_P.txt")
    split = protocol / "Split" / kind
    folders = sorted(folder for folder in split.glob("*") if folder.is_dir())
    if not folders:
        raise ProtocolFileError(f"{split} must hold folders 01, 02, ..., got none")
    sides: tuple[list[str], list[str]] = ([], [])
    flags: list[bool] = []
    folds: list[int] = []
    for fold, folder in enumerate(folders):
        for file, is_mated in (("same.txt", True), ("diff.txt", False)):
            path = folder / file
            for line, words in read_words(path, ["first", "second"], separator=","):
                for side, table, word in zip(sides, (frontal, other), words, strict=True):
                    number = whole_number(path, line, "picture", word)
                    if number not in table:
                        raise ProtocolFileError(
                            f"{path} line {line}: picture {number} is not in the list of pictures"
                        )
                    side.append(table[number])
                flags.append(is_mated)
                folds.append(fold)
    listed = _listed(f"cfp-{kind.lower()}", split, *sides, flags, folds, None)
    # Data/Images/001/frontal/01.jpg: the person's folder is two above the file.
    return _with_people(listed, [Path(picture).parts[-3] for picture in listed.pictures])


def pairs_table(path: str | Path) -> ListedPairs:
    """Read a pairs.csv: picture_a,picture_b,is_mated[,fold][,identity_a,identity_b]."""
    columns = read_table(
        path, ["picture_a", "picture_b", "is_mated"], ["fold", "identity_a", "identity_b"]
    )
    answers = {"1": True, "0": False, "true": True, "false": False}
    flags = []
    for line, word in enumerate(columns["is_mated"], 2):
        if word.lower() not in answers:
            raise ProtocolFileError(f"{path} line {line}: is_mated must be 1 or 0, got {word!r}")
        flags.append(answers[word.lower()])
    lines = list(range(2, len(flags) + 2))
    folds = None
    if "fold" in columns:
        names = sorted(set(columns["fold"]))
        folds = [names.index(word) for word in columns["fold"]]
    one, other = columns["picture_a"], columns["picture_b"]
    listed = _listed(Path(path).stem, path, one, other, flags, folds, lines, may_not_repeat=True)
    if "identity_a" not in columns or "identity_b" not in columns:
        return listed
    owners: dict[str, str] = {}
    for side in ("a", "b"):
        for line, (picture, person) in enumerate(
            zip(columns[f"picture_{side}"], columns[f"identity_{side}"], strict=True), 2
        ):
            if owners.setdefault(picture, person) != person:
                raise ProtocolFileError(
                    f"{path} line {line}: {picture} was said to show {owners[picture]}, "
                    f"got {person}"
                )
    return _with_people(listed, [owners[picture] for picture in listed.pictures])


def pack_pairs(is_mated: NDArray[np.bool_], *, name: str) -> ListedPairs:
    """Return the pairs of a .bin pack: pictures 2i and 2i + 1; who is on them is not said."""
    rows = np.arange(2 * len(is_mated))
    _check_kinds(name, is_mated)
    return ListedPairs(
        name=name,
        pictures=[f"{row:06d}" for row in rows],
        first=rows[::2],
        second=rows[1::2],
        is_mated=is_mated,
        folds=None,
        people=None,
    )


def _cfp_pictures(path: Path) -> dict[int, str]:
    pictures = {}
    for line, words in read_words(path, ["number", "picture"]):
        number = whole_number(path, line, "number", words[0])
        # ../Data/Images/001/frontal/01.jpg, as seen from Protocol.
        pictures[number] = words[1].replace("\\", "/").removeprefix("../")
        if len(Path(pictures[number]).parts) < 3:
            raise ProtocolFileError(
                f"{path} line {line}: a picture must lie in person/kind/file, got {words[1]!r}"
            )
    return pictures


def _check_even(path: str | Path, lines: Sequence[tuple[int, object]]) -> None:
    if len(lines) % 2 or not lines:
        raise ProtocolFileError(
            f"{path} must hold two lines a pair, got {len(lines):,} lines; one is missing or extra"
        )


def _check_kinds(path: str | Path, is_mated: NDArray[np.bool_]) -> None:
    for kind, flags in (("mated", is_mated), ("non-mated", ~is_mated)):
        if not flags.any():
            raise ProtocolFileError(
                f"{path} must list both kinds of pairs, got no {kind} pair among {len(flags):,}"
            )


def _listed(
    name: str,
    path: str | Path,
    one: Sequence[str],
    other: Sequence[str],
    flags: Sequence[bool],
    folds: Sequence[int] | None,
    lines: Sequence[int] | None,
    *,
    may_not_repeat: bool = False,
) -> ListedPairs:
    rows: dict[str, int] = {}
    first, second = (
        np.array([rows.setdefault(picture, len(rows)) for picture in side], dtype=np.int64)
        for side in (one, other)
    )
    is_mated = np.array(flags, dtype=np.bool_)
    _check_kinds(path, is_mated)
    if (first == second).any():
        raise _wrong_pair(path, lines, "a pair must name two pictures", one, other, first == second)
    low, high = np.minimum(first, second), np.maximum(first, second)
    is_repeated = np.ones(first.size, dtype=np.bool_)
    is_repeated[np.unique(low * len(rows) + high, return_index=True)[1]] = False
    if may_not_repeat and is_repeated.any():
        raise _wrong_pair(path, lines, "a pair must stand once", one, other, is_repeated)
    return ListedPairs(
        name=name,
        pictures=list(rows),
        first=first,
        second=second,
        is_mated=is_mated,
        folds=None if folds is None else np.array(folds, dtype=np.int64),
        people=None,
        repeated=int(is_repeated.sum()),
    )


def _wrong_pair(
    path: str | Path,
    lines: Sequence[int] | None,
    promise: str,
    one: Sequence[str],
    other: Sequence[str],
    is_wrong: NDArray[np.bool_],
) -> ProtocolFileError:
    pair = int(np.argmax(is_wrong))
    place = f"{path} line {lines[pair]}" if lines else f"{path}, pair {pair}"
    return ProtocolFileError(
        f"{place}: {promise}, got {one[pair]} and {other[pair]} ({int(is_wrong.sum()):,} such)"
    )


def _with_people(listed: ListedPairs, people: list[str]) -> ListedPairs:
    names = np.array(people)
    contradicts = (names[listed.first] == names[listed.second]) != listed.is_mated
    if contradicts.any():
        pair = int(np.argmax(contradicts))
        raise ProtocolFileError(
            f"{listed.name}: pair {pair} must be mated where both pictures show one person, got "
            f"{listed.pictures[listed.first[pair]]} and {listed.pictures[listed.second[pair]]} as "
            f"{'mated' if listed.is_mated[pair] else 'non-mated'}"
        )
    return replace(listed, people=people)
