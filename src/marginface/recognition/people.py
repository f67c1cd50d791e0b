"""Who is enrolled with which embeddings, and the index that follows every change.

An index knows people by number. Numbers rise in the order of enrolment and stay with a person, so
an index that was kept fits the gallery again after others were removed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marginface.errors import IndexMismatchError
from marginface.search import Index, fingerprint_of

Rows = NDArray[np.float32]

# Templates that go into an index at a time, and how often a search is tried beside removals.
BATCH = 4096
ATTEMPTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An enrolled person who may be the one asked for.

    Args:
        name: Of the person.
        score: Cosine of the probe with the person's template.
    """

    name: str
    score: float


class People:
    """Rows and numbers by name, and perhaps an index. Who changes them holds the gallery's lock.

    Args:
        dim: Length of an embedding.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.rows: dict[str, Rows] = {}
        self.numbers: dict[str, int] = {}
        self.index: Index | None = None
        self._names: dict[int, str] = {}
        self._next = 0

    def restore(self, names: Sequence[str], numbers: Sequence[int], rows: Sequence[Rows]) -> None:
        """Take in everybody of a file, before there is an index."""
        self.rows = dict(zip(names, rows, strict=True))
        self.numbers = dict(zip(names, numbers, strict=True))
        self._names = dict(zip(numbers, names, strict=True))
        self._next = max(numbers, default=-1) + 1

    def search_in(self, index: Index) -> None:
        """Follow this index from now on; an empty one is filled.

        Raises:
            IndexMismatchError: If it holds other templates.
            ValueError: If its rows are of another length.
        """
        if index.dim != self.dim:
            raise ValueError(f"index must hold rows of {self.dim} numbers, got {index.dim}")
        numbers = list(self.numbers.values())
        if not len(index):
            for start in range(0, len(numbers), BATCH):
                part = numbers[start : start + BATCH]
                index.add(part, np.stack([self._template(number) for number in part]))
        elif index.fingerprint() != fingerprint_of(numbers, map(self._template, numbers)):
            raise IndexMismatchError(
                f"the index must hold the templates of these {len(numbers):,} people, got "
                f"{len(index):,} of another state of the gallery; build it anew with "
                "`marginface gallery index`, or empty it with clear()"
            )
        self.index = index

    def put(self, name: str, rows: Rows) -> None:
        """Give a person these rows; if the index refuses, nothing has changed."""
        is_new = name not in self.numbers
        number = self._next if is_new else self.numbers[name]
        # Before a search can find the number.
        self._names[number] = name
        try:
            if self.index is not None:
                self.index.add([number], template_of(rows)[np.newaxis])
        except Exception:
            if is_new:
                del self._names[number]
            raise
        self.rows[name], self.numbers[name] = rows, number
        self._next = max(self._next, number + 1)

    def drop(self, name: str) -> None:
        """Forget a person; if the index refuses, nothing has changed."""
        number = self.numbers[name]
        if self.index is not None:
            self.index.remove([number])
        del self.rows[name], self.numbers[name], self._names[number]

    def nearest(self, index: Index, probes: Rows, k: int, lowest: float) -> list[list[Candidate]]:
        """Return for each probe the k best people who score `lowest` or more.

        Raises:
            IndexMismatchError: If the index holds somebody who is not enrolled.
        """
        for _ in range(ATTEMPTS):
            found = index.search(probes, k)
            pairs = zip(found.ids.tolist(), found.scores.tolist(), strict=True)
            try:
                return [self._candidates(*each, lowest) for each in pairs]
            except KeyError:  # somebody was removed since the search began
                continue
        raise IndexMismatchError(
            "the index must hold these people only, got one the gallery does not know; another "
            "program changes it, or an addition failed; build it anew"
        )

    def _candidates(
        self, numbers: list[int], scores: list[float], lowest: float
    ) -> list[Candidate]:
        return [
            Candidate(name=self._names[number], score=min(1.0, max(-1.0, score)))
            for number, score in zip(numbers, scores, strict=True)
            if number >= 0 and score >= lowest
        ]

    def _template(self, number: int) -> Rows:
        return template_of(self.rows[self._names[number]])


def check_name(name: str) -> None:
    """Raise unless somebody can be enrolled, and written into a file, by this name.

    Raises:
        ValueError: If it is empty, or holds what is no Unicode, as the name of a folder may.
    """
    if not name.strip():
        raise ValueError(f"name must be a person's, got {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError as cause:
        raise ValueError(
            f"name must be text in UTF-8, got {name!r}; rename the person's folder"
        ) from cause


def template_of(rows: Rows) -> Rows:
    """Return the sum of embeddings, shape (n, dim), divided by its length."""
    added = rows.sum(axis=0, dtype=np.float64)
    # Not np.linalg.norm: a BLAS adds as suits the processor, and an index that was made on another
    # machine would then now and then be refused for a last digit.
    length = float(np.sqrt(np.square(added).sum()))
    # Pictures that cancel say nothing; such a template is like nobody.
    return np.asarray(added / max(length, 1e-9), dtype=np.float32)
