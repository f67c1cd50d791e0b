"""A set of faces made worse on purpose: wrong labels and bad pictures, to study what they do.

    lot(picture) = SHA-256(seed, purpose, name of the picture)

The pictures with the lowest lots are chosen, and the rest of the lot says what becomes of them. So
a picture's fate hangs on the seed and its name alone: not on the loss, the order of the batches,
the number of threads or processes, or where a run was cut; and a higher share spoils what a lower
one did, and more.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.data.encoded_faces import EncodedFaces
from marginface.data.pack_format import Fingerprint, Remark
from marginface.data.packs import PackedFaces
from marginface.errors import DataError

Image = NDArray[np.uint8]
Lots = NDArray[np.uint64]
COLUMNS = ("picture", "identity", "given_identity", "damage")
# Ends of the strengths, in shares of the side, in brightness, and in grey levels.
SMALL, BLUR, LIGHT, GRAIN = (0.1, 0.2), (0.03, 0.06), (0.1, 0.3), 8.0


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """How much of a set is spoilt, and by which draw.

    Args:
        label_noise: Share of the pictures that get the label of another person of the set, each
            other person as likely, in [0, 1).
        low_quality: Share of the pictures that are small, blurred or dark once and for all, a third
            each, in [0, 1); drawn independently of the labels.
        seed: Of both draws, 0 or more.

    Raises:
        ValueError: If a number lies outside its range.
    """

    label_noise: float = 0.0
    low_quality: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("label_noise", "low_quality"):
            if not 0 <= (share := getattr(self, name)) < 1:
                hint = f"; for {share} percent pass {share / 100:g}" if 1 < share < 100 else ""
                raise ValueError(f"{name} must be a share in [0, 1), got {share}{hint}")
        if self.seed < 0:
            raise ValueError(f"corruption_seed must be 0 or more, got {self.seed}")

    @property
    def is_any(self) -> bool:
        """Whether anything is to be spoilt."""
        return self.label_noise > 0 or self.low_quality > 0

    def __str__(self) -> str:
        parts = (("label noise", self.label_noise), ("low quality", self.low_quality))
        told = [f"{name} {share:g}" for name, share in parts if share]
        return ", ".join([*told, f"corruption seed {self.seed}"])


class CorruptedFaces:
    """A set with some labels replaced and some pictures damaged; the set itself stays as it is.

    It reads like the set. `labels` are the given ones, which training sees; names keep the truth.

    Args:
        faces: The set.
        corruption: What to do to it.

    Raises:
        DataError: If labels are to be replaced and there is one identity only.
    """

    def __init__(self, faces: PackedFaces | EncodedFaces, corruption: Corruption) -> None:
        if corruption.label_noise and len(faces.identities) < 2:
            raise DataError(
                f"label_noise needs 2 identities or more, {faces.path} holds "
                f"{len(faces.identities)}; there is nobody else to take a face for"
            )
        self.corruption = corruption
        self.names: list[str] = faces.names
        self.true_labels: NDArray[np.int64] = faces.labels
        self.labels = _replaced(faces, corruption)
        self._faces = faces
        lots = _lots(self.names, "low quality", corruption.seed, corruption.low_quality)
        self.is_low_quality = _chosen(lots, corruption.low_quality)
        self._lots = lots

    def __len__(self) -> int:
        return len(self.names)

    @property
    def path(self) -> Path:
        """Where the set lies."""
        return self._faces.path

    @property
    def identities(self) -> list[str]:
        """Sorted names of people."""
        return self._faces.identities

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every picture."""
        return self._faces.size

    @property
    def is_aligned(self) -> bool:
        """Whether the pictures are aligned crops of one size."""
        return self._faces.is_aligned

    @property
    def left_out(self) -> list[Remark]:
        """(name, reason, detail) of what the set could not hold."""
        return self._faces.left_out

    @property
    def encoding(self) -> str:
        """What reading costs: "raw" pixels are copied, any other picture is worked on each time."""
        return "damaged" if self.is_low_quality.any() else self._faces.encoding

    @property
    def is_flipped(self) -> NDArray[np.bool_]:
        """Whose label was replaced, shape (images,)."""
        return self.labels != self.true_labels

    @property
    def meta(self) -> dict[str, Any]:
        """What is known of the set; its name says what was done to it."""
        name = self._faces.meta.get("name", self.path.name)
        return self._faces.meta | {"name": f"{name} ({self.corruption})"}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the set's own fingerprint and of all that was done to it."""
        mark = Fingerprint()
        mark.add(self._faces.fingerprint.encode())
        return mark.close(
            form={"corruption": str(self.corruption)},
            names=self.names,
            labels=self.labels,
            identities=self.identities,
            truth={"is_low_quality": self.is_low_quality},
        )

    def read(self, indices: Sequence[int] | NDArray[Any]) -> Image:
        """Return the pictures at `indices`, RGB, shape (n, height, width, 3), damage included.

        Raises:
            IndexError: If an index is outside the set.
            DataError: If a stored picture does not decode.
        """
        asked = np.asarray(indices, dtype=np.int64).reshape(-1)
        images = self._faces.read(asked)
        for place in np.flatnonzero(self.is_low_quality[asked]).tolist():
            images[place] = damage(images[place], self._lots[asked[place]])
        return images

    def counts(self) -> dict[str, Any]:
        """Return the settings and how many pictures they met, ready for JSON."""
        return {
            "label_noise": self.corruption.label_noise,
            "low_quality": self.corruption.low_quality,
            "seed": self.corruption.seed,
            "flipped": int(self.is_flipped.sum()),
            "damaged": int(self.is_low_quality.sum()),
        }

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return `COLUMNS` of every picture that was spoilt, in the order of the set.

        The given identity stands in each; the damage is empty where the picture is as it was.
        """
        return [
            (
                self.names[index],
                self.identities[self.true_labels[index]],
                self.identities[self.labels[index]],
                _kind(self._lots[index]) if self.is_low_quality[index] else "",
            )
            for index in np.flatnonzero(self.is_flipped | self.is_low_quality).tolist()
        ]


def damage(image: Image, lot: Lots) -> Image:
    """Return a damaged copy of a picture, of the same size, always the same for one lot.

    Args:
        image: RGB, shape (height, width, 3).
        lot: Four words: which kind, and how strong, stand in the second and third.
    """
    share, (height, width) = float(lot[2]) / 2.0**64, image.shape[:2]

    def between(ends: tuple[float, float]) -> float:
        return ends[0] + share * (ends[1] - ends[0])

    kind = _kind(lot)
    if kind == "small":
        size = (max(1, round(width * between(SMALL))), max(1, round(height * between(SMALL))))
        reduced = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        changed = cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR)
    elif kind == "blurred":
        sigma = between(BLUR) * max(height, width)
        changed = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    else:
        # Without the grain a network that divides by the variance would see no difference.
        grain = np.random.default_rng(int(lot[3])).normal(0, GRAIN, image.shape)
        changed = np.clip(np.rint(image * between(LIGHT) + grain), 0, 255)
    return np.asarray(changed, dtype=np.uint8)


def _kind(lot: Lots) -> str:
    return ("small", "blurred", "dark")[int(lot[1]) % 3]


def _replaced(faces: PackedFaces | EncodedFaces, corruption: Corruption) -> NDArray[np.int64]:
    """Return the labels to train with."""
    lots = _lots(faces.names, "label", corruption.seed, corruption.label_noise)
    rows = np.flatnonzero(_chosen(lots, corruption.label_noise))
    labels = faces.labels.astype(np.int64, copy=True)
    if rows.size:
        other = (lots[rows, 1] % np.uint64(len(faces.identities) - 1)).astype(np.int64)
        # One below the number of people, and the own label stepped over: nobody keeps his own.
        labels[rows] = other + (other >= labels[rows])
    return labels


def _lots(names: Sequence[str], purpose: str, seed: int, share: float) -> Lots:
    """Return four words a picture, shape (images, 4); none are needed where nothing is chosen."""
    if not share:
        return np.zeros((len(names), 4), np.uint64)
    texts = (f"{seed} {purpose} {name}".encode() for name in names)
    digests = b"".join(hashlib.sha256(text).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 4)


def _chosen(lots: Lots, share: float) -> NDArray[np.bool_]:
    """Return which pictures have the lowest lots: the share of them, rounded to whole pictures."""
    is_chosen = np.zeros(len(lots), np.bool_)
    is_chosen[np.argsort(lots[:, 0], kind="stable")[: round(share * len(lots))]] = True
    return is_chosen
