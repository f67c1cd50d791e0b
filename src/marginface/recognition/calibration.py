"""Which pictures of a set are looked at, people in turn, and never those of people judged on."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marginface.data.pairs import PairList
from marginface.data.sources import ImageSource
from marginface.errors import DataError
from marginface.progress import track
from marginface.recognition.parity import Calibration
from marginface.recognition.recognizer import Recognizer
from marginface.recognition.sources import acquire_faces

# Ranges taken from fewer faces are those of a few lights and skins.
LEAST_FACES = 16


def people_to_calibrate_on(
    source: ImageSource, pairs: PairList, identities: Sequence[str] | None = None
) -> list[str]:
    """Return the people whose faces may fit the integers: none of those the pairs judge on.

    Args:
        source: The pictures.
        pairs: The list that will judge.
        identities: Only these people; None for everybody who is in no pair.

    Raises:
        DataError: If one of them is in a pair or has no picture, or nobody is left.
    """
    judged = set(pairs.identities)
    if identities is None:
        if not (others := [name for name in source.identities if name not in judged]):
            raise DataError(
                f"{source.path} must hold people who are in no pair, to calibrate on, got all of "
                f"its {len(source.identities):,} people in {pairs.path}"
            )
        return others
    if overlap := [name for name in identities if name in judged]:
        raise DataError(
            f"nobody may be calibrated and judged on, got {len(overlap):,} people in both, "
            f"{overlap[0]!r} first; take those of the pairs from the identities"
        )
    if unknown := sorted(set(identities) - set(source.identities)):
        raise DataError(
            f"{source.path} must hold the identities to calibrate on, {len(unknown):,} are not "
            f"there, {unknown[0]!r} first"
        )
    return list(identities)


def rows_in_turn(source: ImageSource, people: Sequence[str], *, seed: int) -> list[int]:
    """Return rows of these people's pictures: one of each, then a second of each, and so on.

    Args:
        source: The pictures.
        people: Whose.
        seed: Of the order of people, and of the pictures of each.
    """
    generator = np.random.default_rng(seed)
    codes = {name: code for code, name in enumerate(source.identities)}
    order = [codes[name] for name in sorted(set(people))]
    rows = [np.flatnonzero(source.labels == code) for code in generator.permutation(order)]
    drawn = [generator.permutation(each).tolist() for each in rows]
    longest = max((len(each) for each in drawn), default=0)
    return [each[turn] for turn in range(longest) for each in drawn if turn < len(each)]


def calibration_faces(
    recognizer: Recognizer, source: ImageSource, people: Sequence[str], *, count: int, seed: int
) -> tuple[NDArray[np.uint8], Calibration]:
    """Return up to `count` aligned faces of these people, in turn, and the record of them.

    Raises:
        DataError: If fewer than 16 faces are found.
    """
    rows = rows_in_turn(source, people, seed=seed)
    faces, owners = [], set()
    acquired = acquire_faces(recognizer, source, rows)
    expected = min(count, len(rows))
    for place, face in enumerate(track(acquired, "calibration", total=expected)):
        if isinstance(face, str):
            continue
        faces.append(face)
        owners.add(int(source.labels[rows[place]]))
        if len(faces) == count:
            break
    if len(faces) < LEAST_FACES:
        raise DataError(
            f"at least {LEAST_FACES} faces are needed to calibrate on, got {len(faces)} of "
            f"{len(rows):,} pictures under {source.path}"
        )
    stacked = np.stack(faces)
    record = Calibration(
        source=source.path.name,
        sha256=hashlib.sha256(stacked.tobytes()).hexdigest(),
        faces=len(faces),
        people=len(owners),
    )
    return stacked, record
