"""What embeddings say about the labels of a set: likely mislabels, twins, and overlap of two sets.

    m_y  = sum of the embeddings of y, divided by its length
    own  = e · m_y without e itself, so that a picture does not vouch for itself
    other = max over z ≠ y of e · m_z

A picture is a likely mislabel when other > own. Two identities a, b are likely twins, one person in
two folders, when their pictures lie as near to the other's mean as to their own, but for a tenth:

    mean(e_a · m_b, e_b · m_a) >= 0.9 * mean(own of a, own of b)

Both are hints for a person to look at: a weak model sees twins where there are none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marginface.data.sources import ImageSource
from marginface.recognition.recognizer import Recognizer
from marginface.recognition.sources import embed_source

TWIN_RATIO = 0.9
# Pairs kept; nobody looks at more.
MOST_TWINS = 10_000
_BLOCK = 1024
# Numbers of a block of cosines with all identities: 32 MB in float64.
_CELLS = 4_000_000

Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Mislabel:
    """A picture nearer to another identity than to its own.

    Args:
        name: Of the picture.
        identity: Its label.
        own: Cosine with the mean of its identity's other pictures.
        nearest: The identity it is nearest to.
        other: Cosine with that one's mean.
    """

    name: str
    identity: str
    own: float
    nearest: str
    other: float


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Two identities whose pictures could be of one person.

    Args:
        first: One.
        second: The other, of the same set or of another one.
        score: Mean cosine of the pictures of each with the mean of the other.
        own: Mean cosine of their pictures with their own mean.
    """

    first: str
    second: str
    score: float
    own: float


@dataclass(frozen=True, kw_only=True)
class TwinsFound:
    """Pairs of identities that could be one person.

    Args:
        best: The likeliest, the first of them first.
        total: How many there are.
    """

    best: list[Twins]
    total: int


@dataclass(frozen=True, kw_only=True, eq=False)
class People:
    """The identities of a set, as a model sees them.

    Args:
        names: Of the pictures.
        identities: Of those a face was acquired of; sorted.
        labels: Row in `identities` of each picture.
        embeddings: Unit rows, shape (pictures, dim).
        means: Unit rows, shape (identities, dim).
        centres: The means before they were divided by their length.
        own: Cosine of each picture with the mean of the others; NaN for an only one.
        failures: (name, why) of the pictures without a face.
    """

    names: list[str]
    identities: list[str]
    labels: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    means: Matrix
    centres: Matrix
    own: Matrix
    failures: list[tuple[str, str]]

    @property
    def coherence(self) -> Matrix:
        """Mean of `own` over each identity; the set's median where there is one picture only."""
        known = ~np.isnan(self.own)
        if not known.any():
            return np.ones(len(self.identities))
        counts = np.bincount(self.labels[known], minlength=len(self.identities))
        sums = np.bincount(
            self.labels[known], weights=self.own[known], minlength=len(self.identities)
        )
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.median(self.own[known]))


def embed_people(
    recognizer: Recognizer, source: ImageSource, *, is_aligned: bool | None = None
) -> People:
    """Embed a whole set; pictures without a face are left out and listed.

    Args:
        recognizer: The model.
        source: The set.
        is_aligned: See `embed_source`.

    Raises:
        WeightsError: If the detector is needed and its weights are nowhere to be found.
    """
    embedded = embed_source(recognizer, source, np.arange(len(source.names)), is_aligned=is_aligned)
    rows = np.flatnonzero(~embedded.failed)
    return people_of(
        embedded.embeddings[rows],
        source.labels[rows],
        source.identities,
        [source.names[row] for row in rows.tolist()],
        failures=embedded.failures,
    )


def people_of(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    identities: Sequence[str],
    names: Sequence[str],
    *,
    failures: Sequence[tuple[str, str]] = (),
) -> People:
    """Return means and distances of labelled embeddings.

    Args:
        embeddings: Unit rows, shape (pictures, dim).
        labels: Row in `identities` of each.
        identities: Names; those without a picture are dropped.
        names: Of the pictures.
        failures: Handed on.
    """
    present, rows = np.unique(labels, return_inverse=True)
    sums = np.zeros((len(present), embeddings.shape[1]))
    np.add.at(sums, rows, embeddings.astype(np.float64))
    counts = np.bincount(rows, minlength=len(present))
    own = np.full(len(rows), np.nan)
    for begin in range(0, len(rows), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        one = embeddings[part].astype(np.float64)
        rest = sums[rows[part]] - one
        lengths = np.linalg.norm(rest, axis=1)
        is_known = (counts[rows[part]] > 1) & (lengths > 0)
        own[part][is_known] = ((rest * one).sum(axis=1) / np.maximum(lengths, 1e-300))[is_known]
    return People(
        names=list(names),
        identities=[identities[row] for row in present.tolist()],
        labels=rows.astype(np.int64),
        embeddings=embeddings,
        means=sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-300),
        centres=sums / counts[:, np.newaxis],
        own=own,
        failures=list(failures),
    )


def likely_mislabels(people: People) -> list[Mislabel]:
    """Return the pictures nearer to another identity than to their own, the clearest first."""
    if len(people.identities) < 2:
        return []
    found = []
    step = _rows(len(people.identities))
    for begin in range(0, len(people.labels), step):
        part = slice(begin, begin + step)
        cosines = people.embeddings[part].astype(np.float64) @ people.means.T
        cosines[np.arange(len(cosines)), people.labels[part]] = -np.inf
        nearest, best = cosines.argmax(axis=1), cosines.max(axis=1)
        # An only picture has no own mean, and the comparison with NaN is false.
        found += [
            Mislabel(
                name=people.names[begin + row],
                identity=people.identities[people.labels[begin + row]],
                own=float(people.own[begin + row]),
                nearest=people.identities[nearest[row]],
                other=float(best[row]),
            )
            for row in np.flatnonzero(best > people.own[part]).tolist()
        ]
    return sorted(found, key=lambda each: each.own - each.other)


def likely_twins(
    people: People, others: People | None = None, *, ratio: float = TWIN_RATIO
) -> list[Twins]:
    """Return the pairs of identities that could be one person: the best of `find_twins`."""
    return find_twins(people, others, ratio=ratio).best


def find_twins(
    people: People,
    others: People | None = None,
    *,
    ratio: float = TWIN_RATIO,
    most: int = MOST_TWINS,
) -> TwinsFound:
    """Find pairs of identities that could be one person; keep the likeliest and count all.

    To a model that sees everybody alike, each two of a set are twins; who looks at the list needs
    to be told so, and not to be given all of them.

    Args:
        people: A set.
        others: Another one, for the overlap of both; the same by default.
        ratio: How near the two must be, as a share of how near each is to itself; in (0, 1].
        most: How many are kept, at least 1.

    Raises:
        ValueError: If the ratio or `most` is outside its range.
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must lie in (0, 1], got {ratio}")
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    there = people if others is None else others
    coherence, coherence_there = people.coherence, there.coherence
    # Columns: own - score, by which the best are chosen; row and column of the pair; score.
    best, total = np.empty((4, 0)), 0
    step = _rows(len(there.identities))
    for begin in range(0, len(people.identities), step):
        part = slice(begin, begin + step)
        scores = people.centres[part] @ there.means.T
        scores = (scores + people.means[part] @ there.centres.T) / 2
        own = (coherence[part, np.newaxis] + coherence_there) / 2
        is_near = scores >= ratio * own
        if others is None:
            is_near &= np.arange(len(there.identities)) > begin + np.arange(len(own))[:, None]
        rows, columns = np.nonzero(is_near)
        total += len(rows)
        gaps = (own - scores)[rows, columns]
        found = np.stack([gaps, begin + rows, columns, scores[rows, columns]])
        best = np.concatenate([best, found], axis=1)
        best = best[:, np.lexsort(best[2::-1])[:most]]
    twins = [
        Twins(first=people.identities[int(a)], second=there.identities[int(b)], score=s, own=g + s)
        for g, a, b, s in best.T.tolist()
    ]
    return TwinsFound(best=twins, total=total)


def _rows(columns: int) -> int:
    """Return how many rows of that many numbers are worked on at once."""
    return min(_BLOCK, max(1, _CELLS // max(columns, 1)))
