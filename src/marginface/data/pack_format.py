"""The files of a pack, and its fingerprint.

    pack.json      format, version, size, encoding, identities, fingerprint, meta
    images.bin     the stored pictures, one after the other
    offsets.npy    int64 (images + 1), where each begins in images.bin; absent for raw
    labels.npy     int64 (images,), row in `identities`
    names.json     "identity/identity_0001.jpg" for each picture
    truth.npz      arrays of one row a picture, for made pictures whose truth is known; else absent
    left_out.csv   name, reason, detail of each source picture that is not in the pack
    notes.csv      the same of each picture that is, but with a remark

Nothing in it can execute code; `pack.json` is what makes a folder a pack.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = "marginface-pack"
VERSION = 1
REMARK_COLUMNS = ("name", "reason", "detail")

Truth = dict[str, NDArray[Any]]
Remark = tuple[str, str, str]


def is_pack(path: str | Path) -> bool:
    """Say whether `path` is a folder holding a packed set."""
    return (Path(path) / "pack.json").is_file()


class Fingerprint:
    """SHA-256 over what a pack holds; its place, date, remarks and meta do not count."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, stored: bytes | memoryview) -> None:
        """Take in stored pictures, in order; how they are cut does not matter."""
        self._digest.update(stored)

    def close(
        self,
        *,
        form: Mapping[str, object],
        names: Sequence[str],
        labels: NDArray[np.int64],
        identities: Sequence[str],
        truth: Truth,
    ) -> str:
        """Take in the rest and return 64 hexadecimal digits.

        Args:
            form: Size and encoding.
            names: Of every picture, in order.
            labels: Of every picture, in order.
            identities: What the labels count.
            truth: Arrays of one row a picture.
        """
        rest = {"form": dict(form), "names": list(names), "identities": list(identities)}
        self._digest.update(json.dumps(rest, sort_keys=True).encode())
        self._digest.update(np.ascontiguousarray(labels, dtype=np.int64).tobytes())
        for key in sorted(truth):
            values = np.ascontiguousarray(truth[key])
            self._digest.update(f"{key} {values.dtype.str} {values.shape}".encode())
            self._digest.update(values.tobytes())
        return self._digest.hexdigest()
