"""Writing a pack: everything goes to a temporary folder, which takes its name at the very end."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.data.encodings import check_encoding, encode
from marginface.data.pack_format import (
    FORMAT,
    REMARK_COLUMNS,
    VERSION,
    Fingerprint,
    Remark,
    Truth,
    is_pack,
)
from marginface.errors import CheckpointWriteError, DataError
from marginface.files import is_running, sync_folder


class PackWriter:
    """Write pictures one by one into a new pack; it appears only when the block ends well.

    Labels count the identities in sorted order, whatever the order of the pictures. An exception
    in the block, a full disk or a killed process leaves what was at `path` before.

    Args:
        path: The folder to make.
        size: Of every picture, side or (height, width), in pixels.
        encoding: raw (fast, exact), jpeg (quality 95, small) or png (exact, slow).
        meta: Anything JSON can hold, to be found again in `PackedFaces.meta`.
        may_replace: Take the place of a pack that is there already, at the end.

    Raises:
        DataError: If `path` is there already and must not be replaced, or is not a pack.
        CheckpointWriteError: If the disk refuses.

    Example:
        >>> import tempfile, numpy as np
        >>> from marginface.data import PackedFaces
        >>> folder = tempfile.mkdtemp()
        >>> with PackWriter(f"{folder}/set.pack", size=8) as writer:
        ...     writer.add(np.zeros((8, 8, 3), np.uint8), "anna", "anna/anna_0001.png")
        >>> len(PackedFaces.open(f"{folder}/set.pack"))
        1
    """

    def __init__(
        self,
        path: str | Path,
        *,
        size: int | tuple[int, int] = 112,
        encoding: str = "raw",
        meta: Mapping[str, Any] | None = None,
        may_replace: bool = False,
    ) -> None:
        check_encoding(encoding)
        self.path = Path(path)
        self.size = (size, size) if isinstance(size, int) else size
        self.encoding: str = encoding
        self.meta = dict(meta or {})
        _clear_up(self.path)
        _check_target(self.path, may_replace=may_replace)
        self._names: list[str] = []
        self._owners: list[str] = []
        self._lengths: list[int] = []
        self._truth: list[dict[str, NDArray[Any]]] = []
        self._seen: set[str] = set()
        self.left_out: list[Remark] = []
        self.notes: list[Remark] = []
        self.fingerprint = ""
        self.identities: list[str] = []
        self._mark = Fingerprint()
        self._folder = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._images: io.BufferedWriter | None = None

    def __enter__(self) -> "PackWriter":
        try:
            self._folder.mkdir(parents=True)
            self._images = (self._folder / "images.bin").open("wb")
        except OSError as cause:
            raise self._refused(cause) from cause
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as cause:
            raise self._refused(cause) from cause
        finally:
            self._close_quietly()
            shutil.rmtree(self._folder, ignore_errors=True)

    def __len__(self) -> int:
        return len(self._names)

    def add(
        self,
        image: NDArray[np.uint8],
        identity: str,
        name: str,
        *,
        truth: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        """Append one picture.

        Args:
            image: RGB, shape (height, width, 3) as the pack's size says.
            identity: Whose face it is.
            name: "identity/identity_0001.jpg"; no two alike.
            truth: What is known of the picture; the same keys and shapes for all.

        Raises:
            ValueError: If the shape, the name or the keys do not fit.
            CheckpointWriteError: If the disk refuses.
        """
        if self._images is None:
            raise ValueError("add works inside `with PackWriter(...) as writer:` only")
        if image.shape != (*self.size, 3) or image.dtype != np.uint8:
            raise ValueError(
                f"{name}: image must be uint8 of shape {(*self.size, 3)}, "
                f"got {image.dtype} of shape {image.shape}"
            )
        if name in self._seen:
            raise ValueError(f"name must be new, got {name!r} twice")
        self._keep_truth(name, truth or {})
        stored = encode(image, self.encoding)
        try:
            self._images.write(stored)
        except OSError as cause:
            raise self._refused(cause) from cause
        self._mark.add(stored)
        self._lengths.append(len(stored))
        self._names.append(name)
        self._owners.append(identity)
        self._seen.add(name)

    def leave_out(self, name: str, reason: str, detail: str = "") -> None:
        """List a source picture that is not in the pack, and why."""
        self.left_out.append((name, reason, detail))

    def note(self, name: str, reason: str, detail: str = "") -> None:
        """Keep a remark on a picture that is in the pack."""
        self.notes.append((name, reason, detail))

    def _keep_truth(self, name: str, truth: Mapping[str, ArrayLike]) -> None:
        row = {key: np.asarray(value) for key, value in truth.items()}
        if self._truth and row.keys() != self._truth[0].keys():
            raise ValueError(
                f"{name}: truth must have the keys {sorted(self._truth[0])}, got {sorted(row)}"
            )
        for key, value in row.items():
            if value.dtype.hasobject:
                raise ValueError(f"{name}: truth {key!r} must be numbers or text, got objects")
            if self._truth and value.shape != self._truth[0][key].shape:
                shape = self._truth[0][key].shape
                raise ValueError(
                    f"{name}: truth {key!r} must have shape {shape}, got {value.shape}"
                )
        self._truth.append(row)

    def _finish(self) -> None:
        self.identities = sorted(set(self._owners))
        rows = {identity: row for row, identity in enumerate(self.identities)}
        labels = np.array([rows[owner] for owner in self._owners], dtype=np.int64)
        keys = self._truth[0] if self._truth else {}
        truth: Truth = {key: np.stack([row[key] for row in self._truth]) for key in keys}
        form = {"size": list(self.size), "encoding": self.encoding}
        self.fingerprint = self._mark.close(
            form=form, names=self._names, labels=labels, identities=self.identities, truth=truth
        )
        np.save(self._folder / "labels.npy", labels, allow_pickle=False)
        if self.encoding != "raw":
            offsets = np.concatenate([[0], np.cumsum(self._lengths, dtype=np.int64)])
            np.save(self._folder / "offsets.npy", offsets.astype(np.int64), allow_pickle=False)
        if truth:
            np.savez(self._folder / "truth.npz", allow_pickle=False, **truth)
        (self._folder / "names.json").write_text(json.dumps(self._names), encoding="utf-8")
        _write_remarks(self._folder / "left_out.csv", self.left_out)
        _write_remarks(self._folder / "notes.csv", self.notes)
        described = {
            "format": FORMAT,
            "version": VERSION,
            "count": len(self._names),
            **form,
            "identities": self.identities,
            "fingerprint": self.fingerprint,
            "meta": self.meta,
        }
        (self._folder / "pack.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
        self._publish()

    def _publish(self) -> None:
        assert self._images is not None
        self._images.close()
        for file in self._folder.iterdir():
            with file.open("r+b") as written:
                os.fsync(written.fileno())
        if self.path.exists():
            # A full folder cannot be replaced in one step; the old one goes only afterwards.
            old = self._folder.with_suffix(".old")
            self.path.rename(old)
            try:
                self._folder.rename(self.path)
            except OSError:
                old.rename(self.path)
                raise
            shutil.rmtree(old)
        else:
            self._folder.rename(self.path)
        sync_folder(self.path.parent)

    def _close_quietly(self) -> None:
        if self._images is None:
            return
        try:
            self._images.close()
        except OSError:
            # Closing flushes; on a full disk that fails a second time, and was reported before.
            self._images.raw.close()
        self._images = None

    def _refused(self, cause: OSError) -> CheckpointWriteError:
        return CheckpointWriteError(
            f"{self.path} could not be written after {len(self):,} images "
            f"({cause.strerror or cause}); what was there before is untouched; "
            "free some space or check the rights"
        )


def _check_target(path: Path, *, may_replace: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not is_pack(path):
        raise DataError(f"{path} must be a new folder or a pack, got something else that is kept")
    if not may_replace:
        raise DataError(
            f"{path} is a pack already; give another name, or replace it "
            "(--replace, may_replace=True)"
        )


def _clear_up(path: Path) -> None:
    """Remove what killed processes left beside `path`, and put back a pack they had moved away."""
    for left in path.parent.glob(f".{path.name}.*.*"):
        owner, ending = left.name.split(".")[-2:]
        is_over = owner.isdigit() and not is_running(int(owner))
        if not is_over or ending not in {"part", "old"}:
            continue
        if ending == "old" and not path.exists():
            with suppress(OSError):
                left.rename(path)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _write_remarks(file: Path, remarks: Iterable[Remark]) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(REMARK_COLUMNS)
        rows.writerows(remarks)
