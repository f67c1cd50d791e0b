"""Pictures that stand twice in a set: the same pixels, or nearly.

Every picture leaves 24 bytes in memory: half a SHA-256 of its decoded pixels, and 64 signs of its
coarse differences, which survive another encoding, another size and a little noise. Two pictures
are candidates when at most 4 of the 64 differ; then, cut into five bands, at least one band is the
same in both, so sorting by each band in turn brings every such pair together. Faces aligned alike
look alike, so a candidate counts only if the small grey pictures correlate too.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.data.encoded_faces import EncodedFaces, Rows
from marginface.data.ordered import ordered_map
from marginface.errors import DataError
from marginface.progress import track

MOST_BITS = 4
LEAST_CORRELATION = 0.98
# Neighbours looked at in each band: a million random pictures have 122 in one.
REACH = 512
# Candidates kept, of 16 bytes each; every one is read and compared afterwards.
LIMIT = 1_000_000
_BANDS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))
_SIDE = 32
_POPCOUNT = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)

Pairs = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Signatures:
    """What is kept of every picture of a set.

    Args:
        pixels: 128 bits of the pixels' SHA-256, shape (pictures, 2).
        hashes: 64 signs of coarse differences, shape (pictures,).
        sizes: (height, width), shape (pictures, 2); zero for what does not decode.
        unreadable: (row, why) of those.
    """

    pixels: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    sizes: Rows
    unreadable: list[tuple[int, str]]

    @property
    def is_readable(self) -> NDArray[np.bool_]:
        """Whether each picture decodes."""
        return self.sizes[:, 0] > 0


def signatures(faces: EncodedFaces, *, workers: int | None = None) -> Signatures:
    """Decode every picture of a set once.

    Args:
        faces: The set.
        workers: Threads; all cores by default.
    """
    count = len(faces)
    pixels, hashes = np.zeros((count, 2), np.uint64), np.zeros(count, np.uint64)
    sizes, unreadable = np.zeros((count, 2), np.int64), []

    def signed(row: int) -> tuple[bytes, int, tuple[int, int]] | str:
        try:
            image = faces.read([row])[0]
        except DataError as cause:
            return str(cause).replace(f"{faces.path}: ", "").replace(f"{faces.path}{os.sep}", "")
        height, width = image.shape[:2]
        mark = hashlib.sha256(np.array([height, width]).tobytes() + image.tobytes())
        return mark.digest()[:16], perceptual_hash(image), (height, width)

    rows = ordered_map(signed, range(count), workers=workers or os.cpu_count() or 1)
    for row, found in enumerate(track(rows, "looking", total=count)):
        if isinstance(found, str):
            unreadable.append((row, found))
            continue
        pixels[row] = np.frombuffer(found[0], np.uint64)
        hashes[row], sizes[row] = found[1], found[2]
    return Signatures(pixels=pixels, hashes=hashes, sizes=sizes, unreadable=unreadable)


def perceptual_hash(image: NDArray[np.uint8]) -> int:
    """Return 64 signs: where the smoothed grey picture, 8 × 9, grows brighter to the right.

    Measured on 100 photographs: JPEG of quality 60, another size, noise of 4 grey levels or more
    light change at most 2 of them, another photograph 27 on average. Signs of low frequencies of
    the cosine transform did as well there and worse on smooth pictures.
    """
    smooth = cv2.GaussianBlur(_small(image), (0, 0), 1.5)
    cells = cv2.resize(smooth, (9, 8), interpolation=cv2.INTER_AREA)
    signs = (cells[:, 1:] > cells[:, :-1]).reshape(-1)
    return int.from_bytes(np.packbits(signs).tobytes(), "big")


def exact_groups(found: Signatures) -> list[list[int]]:
    """Return the rows of pictures with the same pixels, in groups of two or more."""
    rows = np.flatnonzero(found.is_readable)
    marks = found.pixels[rows]
    order = np.lexsort((rows, marks[:, 1], marks[:, 0]))
    changes = np.flatnonzero((np.diff(marks[order], axis=0) != 0).any(axis=1)) + 1
    groups = np.split(rows[order], changes)
    return sorted(group.tolist() for group in groups if len(group) > 1)


def near_pairs(
    hashes: NDArray[np.uint64], *, most: int = MOST_BITS, reach: int = REACH, limit: int = LIMIT
) -> tuple[Pairs, bool]:
    """Return the pairs of rows whose hashes differ in at most `most` bits, and if these are all.

    The first row with a hash stands for all that have it: they are joined with it, and it alone
    with other hashes, so that n equal hashes make n - 1 pairs and not n².

    Args:
        hashes: Of every picture.
        most: Bits, at most 4: with more, five bands do not suffice.
        reach: Neighbours looked at in each band; pictures with more in common may be missed.
        limit: Pairs of different hashes after which the search ends, for the memory's sake.

    Raises:
        ValueError: If `most` is outside [0, 4].
    """
    distinct, first, places = np.unique(hashes, return_index=True, return_inverse=True)
    near, is_whole = near_hashes(distinct, most=most, reach=reach, limit=limit)
    rows = np.arange(len(hashes))
    joined = np.stack([first[places], rows], axis=1)[first[places] != rows]
    pairs = np.sort(np.concatenate([joined, first[near]]), axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].astype(np.int64), is_whole


def near_hashes(
    hashes: NDArray[np.uint64], *, most: int = MOST_BITS, reach: int = REACH, limit: int = LIMIT
) -> tuple[Pairs, bool]:
    """Return the pairs of rows as `near_pairs` does, of hashes that all differ."""
    if not 0 <= most < len(_BANDS):
        raise ValueError(f"most must lie in [0, {len(_BANDS) - 1}], got {most}")
    found, is_whole, room = [np.zeros((0, 2), np.int64)], True, limit
    for shift, width in _BANDS:
        keys = (hashes >> np.uint64(shift)) & np.uint64((1 << width) - 1)
        order = np.lexsort((hashes, keys)).astype(np.int64)
        sorted_keys, sorted_hashes = keys[order], hashes[order]
        alive = np.arange(len(order))
        for step in range(1, reach + 1):
            alive = alive[alive + step < len(order)]
            alive = alive[sorted_keys[alive] == sorted_keys[alive + step]]
            if not alive.size:
                break
            close = alive[_distance(sorted_hashes[alive], sorted_hashes[alive + step]) <= most]
            is_whole &= len(close) <= room
            close = close[:room]
            room -= len(close)
            found.append(np.stack([order[close], order[close + step]], axis=1))
        else:
            is_whole = False
    # A pair that shares several bands was found in each of them.
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    return pairs.astype(np.int64), is_whole


def alike_pairs(faces: EncodedFaces, other: EncodedFaces, pairs: Pairs) -> Iterator[bool]:
    """Say of each pair of rows whether the two pictures are alike to the eye.

    Args:
        faces: Holds the first of each pair.
        other: Holds the second.
        pairs: Rows, shape (pairs, 2), of pictures that decode.
    """
    for first, second in pairs.tolist():
        small = [_small(each.read([row])[0]) for each, row in ((faces, first), (other, second))]
        one, two = (image - image.mean() for image in small)
        scale = float(np.sqrt((one * one).sum() * (two * two).sum()))
        # Two even pictures have nothing to correlate; their hashes agree, and so they are alike.
        yield scale == 0 or float((one * two).sum()) / scale >= LEAST_CORRELATION


def _distance(one: NDArray[np.uint64], two: NDArray[np.uint64]) -> NDArray[np.int64]:
    words = np.ascontiguousarray(one ^ two).view(np.uint16).reshape(-1, 4)
    return _POPCOUNT[words].sum(axis=1, dtype=np.int64)


def _small(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32)
