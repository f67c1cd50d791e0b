"""Columns out of protocol files, with file and line in every error.

A file of some million lines of whole numbers is parsed in one sweep; only if that fails is it
walked line by line, to say which one is wrong.
"""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.errors import ProtocolFileError


def read_text(path: str | Path) -> str:
    """Return a protocol file's text.

    Raises:
        ProtocolFileError: If it cannot be read or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        reason = getattr(cause, "strerror", None) or "not UTF-8 text"
        raise ProtocolFileError(f"{path} could not be read ({reason})") from cause


def read_lines(path: str | Path) -> list[tuple[int, str]]:
    """Return (line number from 1, text) of every line that is not blank."""
    lines = enumerate(read_text(path).splitlines(), 1)
    return [(number, text.strip()) for number, text in lines if text.strip()]


def read_words(
    path: str | Path, names: Sequence[str], *, separator: str | None = None
) -> list[tuple[int, list[str]]]:
    """Return (line number, words) of every line, each with exactly the named columns.

    Args:
        path: The file.
        names: What the columns hold, for messages.
        separator: What parts them; None for any blanks.

    Raises:
        ProtocolFileError: If a line has missing or extra columns, or there is no line.
    """
    rows = [(number, text.split(separator)) for number, text in read_lines(path)]
    for number, words in rows:
        if len(words) != len(names):
            raise wrong_columns(path, number, names, words)
    if not rows:
        raise ProtocolFileError(f"{path} must hold lines of {' '.join(names)}, got none")
    return [(number, [word.strip() for word in words]) for number, words in rows]


def read_whole_numbers(path: str | Path, names: Sequence[str]) -> NDArray[np.int64]:
    """Return a file of whole numbers as an array of shape (lines, columns).

    Raises:
        ProtocolFileError: If a line has missing or extra columns, or holds no whole number.
    """
    text = read_text(path)
    lines = text.count("\n") + (not text.endswith("\n"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            numbers = np.fromstring(text, dtype=np.int64, sep=" ")
        except (DeprecationWarning, ValueError):
            numbers = np.empty(0, np.int64)
    if numbers.size and numbers.size == lines * len(names):
        return numbers.reshape(lines, len(names))
    return _by_line(path, names)


def read_table(
    path: str | Path, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Return the columns of a CSV file with a header; the line of row i is i + 2.

    Raises:
        ProtocolFileError: If the header lacks a required column or has an unknown one, a row has
            missing or extra cells, or there is no row.
    """
    # Blank lines at the end are none; elsewhere they would shift the rows against their lines.
    rows = list(csv.reader(read_text(path).rstrip().splitlines()))
    header = [name.strip() for name in rows[0]] if rows else []
    known = [*required, *optional]
    if missing := [name for name in required if name not in header]:
        raise ProtocolFileError(
            f"{path} line 1: the header must hold {', '.join(required)}, got {', '.join(header)}; "
            f"missing is {missing[0]}"
        )
    if extra := [name for name in header if name not in known]:
        raise ProtocolFileError(
            f"{path} line 1: the columns must be of {', '.join(known)}, got {extra[0]!r} besides"
        )
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise wrong_columns(path, number, header, row)
    if len(rows) < 2:
        raise ProtocolFileError(f"{path} must hold rows below its header, got none")
    columns = zip(*rows[1:], strict=True)
    return {
        name: [cell.strip() for cell in column]
        for name, column in zip(header, columns, strict=True)
    }


def whole_number(path: str | Path, line: int, name: str, word: str) -> int:
    """Return a word as a whole number.

    Raises:
        ProtocolFileError: If it is none, with file and line.
    """
    try:
        return int(word)
    except ValueError:
        raise ProtocolFileError(f"{path} line {line}: {name} must be whole, got {word!r}") from None


def wrong_columns(
    path: str | Path, line: int, names: Sequence[str], words: Sequence[str]
) -> ProtocolFileError:
    """Return the error for a line with missing or extra columns."""
    return ProtocolFileError(
        f"{path} line {line}: a line must hold {len(names)} columns, {' '.join(names)}, "
        f"got {len(words)}: {' '.join(words)[:80]!r}"
    )


def _by_line(path: str | Path, names: Sequence[str]) -> NDArray[np.int64]:
    rows = read_words(path, names)
    return np.array(
        [
            [whole_number(path, line, name, word) for name, word in zip(names, words, strict=True)]
            for line, words in rows
        ],
        dtype=np.int64,
    )
