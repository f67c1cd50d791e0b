"""The gallery file: safetensors, with the names in its metadata. Reading believes nothing.

embeddings    (pictures, dim) float32, unit rows, person after person
counts        (people,) int64, how many rows each has
cards         (4, dim) float32, what the model says of the four made pictures
numbers       (people,) int64, rising: by what number an index knows each; absent if 0, 1, 2, ...
metadata      {"marginface": {"kind": "gallery", "format": 1, "model": ..., "names": [...]}}

With numbers the format is 2.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from marginface.errors import DataError
from marginface.files import atomic_path
from marginface.recognition.contract import KEY, read_kind
from marginface.recognition.model_file import reason_broken

# The second is written only where it is needed, so that older versions read the rest.
FORMATS = (1, 2)
CARDS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredGallery:
    """What a gallery file holds.

    Args:
        model: What reports call the model.
        cards: What it says of the made pictures, shape (4, dim).
        names: Of the people.
        numbers: Of the people, rising; a person keeps theirs.
        counts: How many rows of `embeddings` each has, in their order.
        embeddings: Unit rows, shape (pictures, dim).
    """

    model: str
    cards: NDArray[np.float32]
    names: list[str]
    numbers: list[int]
    counts: list[int]
    embeddings: NDArray[np.float32]


def write_gallery(path: Path, stored: StoredGallery) -> None:
    """Write a gallery in one step; a new file may be read by its owner only, an old keeps its mode.

    Raises:
        CheckpointWriteError: If the disk refuses; the old file is then untouched.
    """
    has_gaps = stored.numbers != list(range(len(stored.names)))
    about = {
        "kind": "gallery",
        "format": FORMATS[has_gaps],
        "model": stored.model,
        "names": stored.names,
    }
    tensors: dict[str, NDArray[Any]] = {
        "embeddings": np.ascontiguousarray(stored.embeddings),
        "counts": np.asarray(stored.counts, np.int64),
        "cards": np.ascontiguousarray(stored.cards),
    }
    if has_gaps:
        tensors["numbers"] = np.asarray(stored.numbers, np.int64)
    content = save(tensors, {KEY: json.dumps(about, sort_keys=True, ensure_ascii=False)})
    with atomic_path(path) as temporary:
        # Before there is anything to read: an embedding identifies a person.
        temporary.touch(mode=0o600)
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.write_bytes(content)


def read_gallery(path: Path) -> StoredGallery:
    """Read a gallery file.

    Raises:
        DataError: If it is absent, cut off, altered or another kind of file.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "nothing there"
        raise DataError(f"{path} must be a gallery file, got {what}; `marginface enroll` makes one")
    try:
        with safe_open(path, framework="numpy") as file:
            about = _about(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _stored(about, tensors)
    except SafetensorError as cause:
        raise DataError(f"{path}: {reason_broken(path, cause)}") from cause
    except (ValueError, OSError) as cause:
        raise DataError(f"{path}: {cause}") from cause


def _about(metadata: dict[str, str]) -> dict[str, Any]:
    about = read_kind(metadata)
    if about["kind"] != "gallery":
        raise ValueError(f"this is a {about['kind']} file, not a gallery")
    if about.get("format") not in FORMATS:
        raise ValueError(
            f"gallery format must be 1 or 2, got {about.get('format')}; a newer marginface wrote "
            "it, so update this one"
        )
    names, model = about.get("names"), about.get("model")
    if not isinstance(names, list) or not isinstance(model, str):
        raise ValueError("the gallery lacks its names or its model; the file was altered")
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ValueError("the gallery's names are not texts, each once; the file was altered")
    return about


def _stored(about: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> StoredGallery:
    numbers = tensors.pop("numbers", np.arange(len(about["names"])))
    if sorted(tensors) != ["cards", "counts", "embeddings"]:
        raise ValueError(f"the gallery holds {', '.join(sorted(tensors))}; the file was altered")
    cards, counts, rows = tensors["cards"], tensors["counts"], tensors["embeddings"]
    wanted = {
        "cards": (cards, np.float32, (CARDS, cards.shape[-1] if cards.ndim else 0)),
        "counts": (counts, np.int64, (len(about["names"]),)),
        "numbers": (numbers, np.int64, (len(about["names"]),)),
        "embeddings": (rows, np.float32, (int(counts.sum()), cards.shape[-1] if cards.ndim else 0)),
    }
    for name, (got, kind, shape) in wanted.items():
        if got.dtype != kind or got.shape != shape:
            raise ValueError(
                f"{name} must be {np.dtype(kind).name} of shape {shape}, got {got.dtype} "
                f"{got.shape}; the file was altered"
            )
    if (counts < 1).any():
        raise ValueError("a person of the gallery has no picture; the file was altered")
    if (np.diff(numbers, prepend=-1) < 1).any():
        raise ValueError("the numbers of the people do not rise from 0 on; the file was altered")
    lengths = np.linalg.norm(rows, axis=1)
    if not (np.abs(lengths - 1) < 1e-3).all():
        raise ValueError("the gallery holds rows that are not of length 1; the file was altered")
    return StoredGallery(
        model=about["model"],
        cards=cards,
        names=about["names"],
        numbers=numbers.tolist(),
        counts=counts.tolist(),
        embeddings=rows,
    )
