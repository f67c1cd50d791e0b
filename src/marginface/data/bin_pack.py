"""insightface's verification packs, `.bin`: pictures in pairs and whether each shows one person.

    (list of 2n encoded pictures, list of n booleans)     a pickle; pair i is pictures 2i and 2i + 1

It is read by a machine that can execute nothing. The n pairs stand for ten folds in their order, as
insightface cuts them.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.data.bin_pickle import load_harmless
from marginface.data.encoded_faces import EncodedFaces, Rows, Stored, identity_rows
from marginface.data.pairs import PairList, Picture, picture_stem
from marginface.errors import DataError
from marginface.files import atomic_path

FOLDS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class VerificationPack:
    """Pairs of encoded pictures, in the order of the file.

    Args:
        path: The file.
        pictures: Bytes of picture files, or one-dimensional uint8 arrays of them; twice as many as
            pairs.
        is_mated: Whether a pair shows one person, shape (pairs,).
        protocol: Of the pickle, so that the same bytes can be written again.
    """

    path: Path
    pictures: list[bytes | NDArray[np.uint8]]
    is_mated: NDArray[np.bool_]
    protocol: int

    def __len__(self) -> int:
        return len(self.is_mated)

    @property
    def first(self) -> Rows:
        """Row of each pair's first picture."""
        return np.arange(0, 2 * len(self), 2)

    @property
    def second(self) -> Rows:
        """Row of each pair's second picture."""
        return self.first + 1

    def contents(self, rows: Rows) -> Sequence[Stored]:
        """Return the stored bytes of some pictures."""
        found: list[Stored] = []
        for row in rows.tolist():
            picture = self.pictures[row]
            found.append(picture if isinstance(picture, bytes) else picture.tobytes())
        return found

    def pair_list(self, *, folds: int = FOLDS) -> PairList:
        """Return the pairs as a list, with names made up from the number of each pair.

        A mated pair is pictures 1 and 2 of `pair_00007`, a non-mated one picture 1 of `pair_00007a`
        and of `pair_00007b`; who is in two pairs is not known, so every pair has its own people.
        Folds are consecutive and differ by at most one pair.
        """
        if folds < 1:
            raise ValueError(f"folds must be at least 1, got {folds}")
        both = [_people(number, is_one) for number, is_one in enumerate(self.is_mated.tolist())]
        fold = np.empty(len(self), np.int64)
        for number, rows in enumerate(np.array_split(np.arange(len(self)), folds)):
            fold[rows] = number
        return PairList(
            first=[first for first, _ in both],
            second=[second for _, second in both],
            is_mated=self.is_mated,
            fold=fold,
            path=self.path,
        )

    def faces(self) -> EncodedFaces:
        """Return the pictures as a set of faces, named as `pair_list` names them."""
        pairs = self.pair_list()
        shown = [
            picture for both in zip(pairs.first, pairs.second, strict=True) for picture in both
        ]
        identities, labels = identity_rows([identity for identity, _ in shown])
        return EncodedFaces(
            self.path,
            "bin",
            self,
            labels=labels,
            identities=identities,
            list_names=lambda: [f"{picture_stem(*picture)}.jpg" for picture in shown],
            is_aligned=True,
            meta={"name": self.path.stem},
        )


def read_bin(path: str | Path) -> VerificationPack:
    """Read a verification pack; nothing in it is executed.

    Raises:
        DataError: If it is absent, cut off, holds something else, or would execute anything.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise DataError(f"{path} could not be read ({cause.strerror or cause})") from cause
    loaded = load_harmless(content, path)
    form = "(list of 2n pictures, list of n booleans)"
    if not isinstance(loaded, list) or len(loaded) != 2:
        raise DataError(f"{path} must hold {form}, got {type(loaded).__name__}")
    pictures, answers = loaded
    if not (isinstance(pictures, list) and isinstance(answers, list)):
        raise DataError(f"{path} must hold {form}, got parts that are no lists")
    if not answers or len(pictures) != 2 * len(answers):
        raise DataError(
            f"{path} must hold {form}, got {len(pictures):,} pictures and {len(answers):,} booleans"
        )
    for row, picture in enumerate(pictures):
        is_file = isinstance(picture, bytes) or (
            isinstance(picture, np.ndarray) and picture.ndim == 1
        )
        if not is_file or not len(picture):
            raise DataError(
                f"{path}: picture {row:,} must be the bytes of a picture file, got "
                f"{type(picture).__name__} of length {np.size(picture) if not is_file else 0}"
            )
    for row, answer in enumerate(answers):
        if not isinstance(answer, bool) and answer not in (0, 1):
            raise DataError(f"{path}: pair {row:,} must be True or False, got {answer!r}")
    return VerificationPack(
        path=path,
        pictures=pictures,
        is_mated=np.array(answers, dtype=np.bool_),
        protocol=content[1] if content[:1] == b"\x80" else 0,
    )


def write_bin(
    path: str | Path,
    pictures: Sequence[bytes | NDArray[np.uint8]],
    is_mated: NDArray[np.bool_],
    *,
    protocol: int = 4,
) -> None:
    """Write a verification pack, in one step.

    What Python 3 wrote from bytes comes out byte for byte when written again by its protocol.

    Args:
        path: The file.
        pictures: Picture files, those of a pair side by side.
        is_mated: Whether a pair shows one person.
        protocol: Of the pickle, 2 to 5; insightface reads all of them.

    Raises:
        ValueError: If there are not two pictures a pair, or the protocol is another.
        CheckpointWriteError: If the disk refuses.
    """
    if len(pictures) != 2 * len(is_mated):
        raise ValueError(
            f"pictures must be two a pair, {2 * len(is_mated):,}, got {len(pictures):,}"
        )
    if not 2 <= protocol <= pickle.HIGHEST_PROTOCOL:
        raise ValueError(f"protocol must lie in [2, {pickle.HIGHEST_PROTOCOL}], got {protocol}")
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
        pickle.dump((list(pictures), is_mated.tolist()), file, protocol=protocol)


def pictures_of_pairs(faces: EncodedFaces, first: Rows, second: Rows) -> list[bytes]:
    """Return the picture files of pairs side by side, as `write_bin` takes them.

    Raw pictures become PNG, since the format holds picture files.
    """
    rows = np.stack([first, second], axis=1).reshape(-1)
    if faces.raw_size is None:
        return [bytes(content) for content in faces.stored(rows)]
    found = []
    for row in rows.tolist():
        bgr = cv2.cvtColor(faces.read([row])[0], cv2.COLOR_RGB2BGR)
        found.append(cv2.imencode(".png", bgr)[1].tobytes())
    return found


def _people(number: int, is_one: bool) -> tuple[Picture, Picture]:
    if is_one:
        return (f"pair_{number:05d}", 1), (f"pair_{number:05d}", 2)
    return (f"pair_{number:05d}a", 1), (f"pair_{number:05d}b", 1)
