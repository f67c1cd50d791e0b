"""Look at a set of faces: counts, sizes, what does not decode, and what stands in it twice."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from marginface.data.convert import manifest_of
from marginface.data.convert_work import checksum_of
from marginface.data.duplicates import (
    Pairs,
    Signatures,
    alike_pairs,
    exact_groups,
    near_hashes,
    near_pairs,
    signatures,
)
from marginface.data.encoded_faces import EncodedFaces
from marginface.data.packs import PackedFaces
from marginface.errors import DataError

# Upper ends of the histogram of pictures per identity; the last has none.
STEPS = (1, 2, 4, 9, 19, 49, 99, 199, 499)


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a set holds; every list is in the order of the set.

    Args:
        path: Where it lies.
        kind: Its format.
        images: In it.
        identities: In it.
        stored_bytes: Of all pictures.
        per_identity: Fewest, median, mean and most pictures of a person.
        histogram: (from, to, identities) for ranges of pictures per person; `to` may be None.
        sizes: (height, width, pictures), the most frequent first.
        unreadable: (name, why).
        left_out: (name, reason, detail) of what lies there and was never read.
        exact: Groups of names with the same pixels.
        exact_across: How many of the groups hold several people.
        near: (name, name) of pictures alike to the eye and not in a group; see `near_pairs`.
        near_across: How many of those show two people by their labels.
        is_near_complete: Whether the search for them reached everywhere.
        checksum: See `Checksum`.
        is_as_converted: Whether the checksum is that of the manifest beside it; None without one.
        is_as_packed: Whether a pack has the fingerprint of its pack.json; None for what is no pack.
    """

    path: str
    kind: str
    images: int
    identities: int
    stored_bytes: int
    per_identity: dict[str, float]
    histogram: list[tuple[int, int | None, int]]
    sizes: list[tuple[int, int, int]]
    unreadable: list[tuple[str, str]]
    left_out: list[tuple[str, str, str]]
    exact: list[list[str]]
    exact_across: int
    near: list[tuple[str, str]]
    near_across: int
    is_near_complete: bool
    checksum: str
    is_as_converted: bool | None
    is_as_packed: bool | None


@dataclass(frozen=True, kw_only=True)
class SharedPictures:
    """Pictures of one set that stand in another one.

    Args:
        exact: (name, name there) with the same pixels.
        near: The same of pictures alike to the eye.
    """

    exact: list[tuple[str, str]]
    near: list[tuple[str, str]]


def inspect_faces(faces: EncodedFaces) -> tuple[Inspection, Signatures]:
    """Read a whole set as stored and decoded, and say what is in it and whether it was altered.

    Raises:
        DataError: If the file itself is broken; single pictures that do not decode are listed.
    """
    checksum = checksum_of(faces, told="adding up")
    found = signatures(faces)
    groups = exact_groups(found)
    near, is_complete = _near_of(faces, found, groups)
    names, labels = faces.names, faces.labels
    counts = np.bincount(labels, minlength=len(faces.identities))
    shapes = Counter(map(tuple, found.sizes[found.is_readable].tolist())).most_common()
    report = Inspection(
        path=str(faces.path),
        kind=faces.kind,
        images=len(faces),
        identities=len(faces.identities),
        stored_bytes=_stored_bytes(faces),
        per_identity={
            "fewest": int(counts.min()),
            "median": float(np.median(counts)),
            "mean": float(counts.mean()),
            "most": int(counts.max()),
        },
        histogram=_histogram(counts),
        sizes=[(shape[0], shape[1], count) for shape, count in shapes],
        unreadable=[(names[row], why) for row, why in found.unreadable],
        left_out=[(name, reason, detail) for name, reason, detail in faces.left_out],
        exact=[[names[row] for row in group] for group in groups],
        exact_across=sum(len(set(labels[group].tolist())) > 1 for group in groups),
        near=[(names[one], names[two]) for one, two in near],
        near_across=sum(bool(labels[one] != labels[two]) for one, two in near),
        is_near_complete=is_complete,
        checksum=checksum,
        is_as_converted=_is_as_converted(faces, checksum),
        is_as_packed=_is_as_packed(faces),
    )
    return report, found


def shared_pictures(
    faces: EncodedFaces, found: Signatures, other: EncodedFaces, there: Signatures
) -> SharedPictures:
    """Find the pictures of `faces` that stand in `other`, exactly or nearly.

    Args:
        faces: A set.
        found: Its signatures.
        other: An evaluation set, say.
        there: Its signatures.
    """
    both = Signatures(
        pixels=np.concatenate([found.pixels, there.pixels]),
        hashes=np.concatenate([found.hashes, there.hashes]),
        sizes=np.concatenate([found.sizes, there.sizes]),
        unreadable=[],
    )
    count = len(faces)
    exact = []
    for group in exact_groups(both):
        here = [row for row in group if row < count]
        exact += [(one, two - count) for one in here for two in group if two >= count]
    known = set(exact)
    kept = [pair for pair in _candidates_across(both, count).tolist() if tuple(pair) not in known]
    across = np.array(kept, dtype=np.int64).reshape(-1, 2)
    alike = np.array([*alike_pairs(faces, other, across)], dtype=np.bool_)

    def named(rows: list[tuple[int, int]]) -> list[tuple[str, str]]:
        return [(faces.names[one], other.names[two]) for one, two in rows]

    return SharedPictures(
        exact=named(exact), near=named([(one, two) for one, two in across[alike].tolist()])
    )


def _near_of(
    faces: EncodedFaces, found: Signatures, groups: list[list[int]]
) -> tuple[list[tuple[int, int]], bool]:
    # Of pictures with the same pixels one stands for all.
    is_kept = found.is_readable.copy()
    is_kept[[row for group in groups for row in group[1:]]] = False
    rows = np.flatnonzero(is_kept)
    pairs, is_complete = near_pairs(found.hashes[rows])
    chosen = rows[pairs]
    alike = np.array([*alike_pairs(faces, faces, chosen)], dtype=np.bool_)
    return [(one, two) for one, two in chosen[alike].tolist()], is_complete


def _candidates_across(both: Signatures, count: int) -> Pairs:
    """Return (row, row there) of pictures with near hashes, where the first `count` are here.

    Of the pictures there with one hash the first stands for all; here each one counts.
    """
    rows = np.flatnonzero(both.is_readable)
    distinct, places = np.unique(both.hashes[rows], return_inverse=True)
    near, _ = near_hashes(distinct)
    same = np.arange(len(distinct))
    linked = np.concatenate([near, near[:, ::-1], np.stack([same, same], axis=1)])
    is_here = rows < count
    there = np.full(len(distinct), -1)
    there[places[~is_here][::-1]] = rows[~is_here][::-1] - count
    linked = linked[there[linked[:, 1]] >= 0]
    here = rows[is_here][np.argsort(places[is_here], kind="stable")]
    counts = np.bincount(places[is_here], minlength=len(distinct))
    starts = np.cumsum(counts) - counts
    pictures = counts[linked[:, 0]]
    steps = np.arange(pictures.sum()) - np.repeat(np.cumsum(pictures) - pictures, pictures)
    first = here[np.repeat(starts[linked[:, 0]], pictures) + steps]
    pairs = np.stack([first, np.repeat(there[linked[:, 1]], pictures)], axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].astype(np.int64)


def _stored_bytes(faces: EncodedFaces) -> int:
    return sum(len(item.content) for item in faces.items())


def _histogram(counts: np.ndarray[Any, np.dtype[np.int64]]) -> list[tuple[int, int | None, int]]:
    ranges: list[tuple[int, int | None, int]] = []
    begin = 1
    for end in (*STEPS, None):
        top = np.inf if end is None else end
        here = int(((counts >= begin) & (counts <= top)).sum())
        ranges.append((begin, end, here))
        begin = 0 if end is None else end + 1
    return [row for row in ranges if row[2]]


def _is_as_converted(faces: EncodedFaces, checksum: str) -> bool | None:
    try:
        said = json.loads(manifest_of(faces.path).read_text(encoding="utf-8"))
        return bool(said["checksum"] == checksum)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_as_packed(faces: EncodedFaces) -> bool | None:
    if faces.kind != "pack":
        return None
    try:
        PackedFaces.open(faces.path).verify()
    except DataError:
        return False
    return True
