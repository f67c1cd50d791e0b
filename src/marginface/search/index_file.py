"""The index file: safetensors. Reading believes nothing.

ids, rows     (n,) int64 rising and (n, dim) float32
others        what the kind of index keeps beside them
metadata      {"marginface": {"kind": "index", "format": 1, "index": ..., "fingerprint": ...}}
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from marginface.errors import DataError
from marginface.files import atomic_path
from marginface.search.index import Ids, Rows, fingerprint_of

KEY = "marginface"
FORMAT = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredIndex:
    """What an index file holds.

    Args:
        kind: Of the index.
        ids: Of the rows, rising.
        rows: Shape (n, dim).
        extra: Further arrays of this kind, by name.
    """

    kind: str
    ids: Ids
    rows: Rows
    extra: dict[str, NDArray[Any]]


def write_index(path: Path, stored: StoredIndex) -> None:
    """Write an index in one step; it takes its own size of memory once more while it does.

    A new file may be read by its owner only; an old one keeps its mode.

    Raises:
        CheckpointWriteError: If the disk refuses; the old file is then untouched.
    """
    about = {
        "kind": "index",
        "format": FORMAT,
        "index": stored.kind,
        "fingerprint": fingerprint_of(stored.ids, stored.rows),
    }
    arrays: dict[str, NDArray[Any]] = {
        "ids": stored.ids,
        "rows": np.ascontiguousarray(stored.rows),
        **stored.extra,
    }
    with atomic_path(path) as temporary:
        # Before there is anything to read: a row identifies a person.
        temporary.touch(mode=0o600)
        try:
            save_file(arrays, temporary, {KEY: json.dumps(about, sort_keys=True)})
        except SafetensorError as cause:  # the arrays are sound, so it is the disk
            raise OSError(str(cause)) from cause
        # Afterwards: safetensors puts a file of its own in the place of that one.
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o600)


def read_index(path: Path, kind: str) -> StoredIndex:
    """Read an index file of one kind.

    Raises:
        DataError: If it is absent, cut off, altered or another kind of file.
    """
    if not path.is_file():
        raise DataError(
            f"{path} must be an index file, got {'a folder' if path.is_dir() else 'none'}"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get(KEY, "{}"))
            _check(about, kind)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as cause:
        raise DataError(f"{path}: not a whole safetensors file ({cause})") from cause
    except (ValueError, OSError) as cause:
        raise DataError(f"{path}: {cause}") from cause
    ids, rows = arrays.pop("ids", None), arrays.pop("rows", None)
    if (
        ids is None
        or rows is None
        or (ids.dtype, rows.dtype) != (np.int64, np.float32)
        or (ids.ndim, rows.ndim) != (1, 2)
        or len(ids) != len(rows)
        or fingerprint_of(ids, rows) != about["fingerprint"]
    ):
        raise DataError(f"{path}: ids and rows are not those that were saved; build it anew")
    return StoredIndex(kind=kind, ids=ids, rows=rows, extra=arrays)


def _check(about: Any, kind: str) -> None:
    if not isinstance(about, dict) or about.get("kind") != "index":
        raise ValueError("this is not an index file")
    if about.get("format") != FORMAT:
        raise ValueError(
            f"index format must be {FORMAT}, got {about.get('format')}; a newer marginface wrote it"
        )
    if about.get("index") != kind:
        raise ValueError(f"this is an index of kind {about.get('index')!r}, not {kind!r}")
    if not isinstance(about.get("fingerprint"), str):
        raise ValueError("the index lacks its fingerprint; the file was altered")
