"""From any format to any other: streaming, taken up again after a kill, verified before it appears.

The new set grows in a hidden folder beside its place. Every so many pictures a progress file, which
is replaced in one step, says how much is whole; a killed run goes on from there. At the end all is
read back and compared by checksum, and only then does the set take its name. Pictures that are
stored encoded on both sides pass through untouched.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marginface.data.convert_bin import convert_to_bin, copy_rec, write_pairs_of
from marginface.data.convert_formats import (
    SINKS,
    checked_kind,
    kind_of_source,
    kind_of_target,
    open_encoded,
)
from marginface.data.convert_pack import prepared
from marginface.data.convert_sinks import Sink
from marginface.data.convert_work import (
    check_place,
    checksum_of,
    keeping_marks,
    progress_file,
    publish,
    verify,
    work_folder,
)
from marginface.data.encoded_faces import Checksum, EncodedFaces, FaceItem, Rows
from marginface.data.encodings import ENCODINGS
from marginface.errors import DataError, unknown_name
from marginface.files import write_atomically
from marginface.progress import track

CHUNK = 10_000


@dataclass(frozen=True, kw_only=True)
class ConvertReport:
    """What became of a set; it lies as JSON beside the new one, in OUT.manifest.json.

    Args:
        source: What was read.
        path: What was written.
        kind: Its format.
        images: In it.
        identities: In it.
        checksum: Of what is stored in it; see `Checksum`. Sets with the same names, identities and
            picture files have the same, in every format and order.
        kept: Pictures whose stored bytes are those of the source.
        resumed_at: The picture a killed run was taken up at; 0 if there was none.
        seconds: The whole work took.
    """

    source: str
    path: str
    kind: str
    images: int
    identities: int
    checksum: str
    kept: int
    resumed_at: int
    seconds: float


def convert_faces(
    source: str | Path,
    out: str | Path,
    *,
    source_kind: str | None = None,
    kind: str | None = None,
    encoding: str = "keep",
    pairs: str | Path | None = None,
    chunk: int = CHUNK,
    may_replace: bool = False,
) -> ConvertReport:
    """Convert the set at `source` into another format at `out`.

    Args:
        source: A folder, a pack, .rec, .bin, .tar shards, or Parquet.
        out: What to make; the suffix says the format.
        source_kind: The format of the source, if its look misleads.
        kind: The format to make, if the suffix does not say it; "webdataset" and "parquet" then
            make a folder of shards.
        encoding: "keep" stored pictures as they are (raw pixels become PNG outside packs), or make
            all "jpeg", "png" or, in a pack, "raw".
        pairs: For .bin only: the LFW pair list to store.
        chunk: Pictures between two marks, and in a shard.
        may_replace: Take the place of what is at `out`.

    Raises:
        ValueError: If a choice is unknown or does not fit the format.
        DataError: If the source is broken, `out` is taken, or what was written does not read back.
        CheckpointWriteError: If the disk refuses.
    """
    source, out, began = Path(source), Path(out), time.monotonic()
    kind = kind_of_target(out) if kind is None else checked_kind(kind)
    _check_choices(out, kind, encoding, chunk, has_pairs=pairs is not None)
    source_kind = kind_of_source(source) if source_kind is None else checked_kind(source_kind)
    check_place(source, out, may_replace=may_replace)
    faces = open_encoded(source, kind=source_kind)
    with keeping_marks(out):
        if kind == "bin":
            done = convert_to_bin(faces, out, pairs)
        elif (source_kind, kind, encoding) == ("rec", "rec", "keep"):
            done = _throughwork_folder(faces, out, copy_rec)
        else:
            done = _Conversion(faces, out, kind, encoding, chunk).run()
        if source_kind == "bin" and kind != "bin":
            write_pairs_of(source, out)
    report = ConvertReport(
        source=str(source),
        path=str(out),
        kind=kind,
        images=len(faces),
        identities=len(faces.identities),
        seconds=time.monotonic() - began,
        **done,
    )
    manifest = json.dumps(asdict(report), indent=1, ensure_ascii=False)
    write_atomically(manifest_of(out), manifest + "\n")
    return report


def manifest_of(out: str | Path) -> Path:
    """Return where the report of a conversion to `out` lies."""
    out = Path(out)
    return out.with_name(f"{out.name}.manifest.json")


class _Conversion:
    """One conversion by a sink, in its work folder."""

    def __init__(
        self, faces: EncodedFaces, out: Path, kind: str, encoding: str, chunk: int
    ) -> None:
        self.faces, self.out, self.kind, self.encoding = faces, out, kind, encoding
        self.order = _order(faces, kind)
        # A shard is whole at a mark; a target of one tar file is one shard.
        self.chunk = max(chunk, len(faces)) if out.suffix == ".tar" else chunk
        self.work = work_folder(out)
        self.job = _job(faces, kind, encoding, self.chunk)

    def run(self) -> dict[str, Any]:
        """Write, verify, publish."""
        progress = self._progress()
        resumed_at = progress["done"]
        sink = SINKS[self.kind](
            self.work / self.out.name, self.faces.labels[self.order], chunk=self.chunk
        )
        if progress["stage"] == "writing":
            try:
                sink.start(progress["state"])
                self._write(sink, progress)
                sink.finish()
            finally:
                sink.close()
            verify(self.work / self.out.name, self.kind, progress["checksum"], len(self.faces))
            self._save(progress | {"stage": "verified"})
        publish(self.work, self.out)
        told = {key: progress[key] for key in ("checksum", "kept")}
        return told | {"resumed_at": resumed_at}

    def _write(self, sink: Sink, progress: dict[str, Any]) -> None:
        checksum = Checksum(progress["checksum"])
        begin = progress["done"]
        items = self.faces.items(self.order[begin:])
        total = len(self.order) - begin
        for item in track(items, f"writing {self.out.name}", total=total):
            made = prepared(_checked(item), self.encoding, takes_raw=self.kind == "pack")
            sink.write(made)
            checksum.add(made)
            progress["kept"] += made.content == item.content
            progress["done"] += 1
            if progress["done"] % self.chunk == 0 and progress["done"] < len(self.order):
                progress["state"] = sink.mark()
                progress["checksum"] = checksum.hexadecimal
                self._save(progress)
        progress["checksum"] = checksum.hexadecimal

    def _progress(self) -> dict[str, Any]:
        """Return where a killed run of the same job stood, or the beginning in an empty folder."""
        try:
            found = json.loads(progress_file(self.out).read_text(encoding="utf-8"))
            if found["job"] == self.job:
                return found
        except (OSError, ValueError, KeyError):
            pass
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        start = {"stage": "writing", "done": 0, "kept": 0, "checksum": "0", "state": None}
        return {"job": self.job} | start

    def _save(self, progress: dict[str, Any]) -> None:
        write_atomically(progress_file(self.out), json.dumps(progress))


def _throughwork_folder(
    faces: EncodedFaces, out: Path, copy: Callable[[Path, Path], None]
) -> dict[str, Any]:
    work = work_folder(out)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    copy(faces.path, work / out.name)
    checksum = checksum_of(faces)
    verify(work / out.name, "rec", checksum, len(faces))
    publish(work, out)
    return {"checksum": checksum, "kept": len(faces), "resumed_at": 0}


def _check_choices(out: Path, kind: str, encoding: str, chunk: int, *, has_pairs: bool) -> None:
    if encoding not in (known := ("keep", *ENCODINGS)):
        raise unknown_name("encoding", encoding, known)
    if encoding == "raw" and kind != "pack":
        raise ValueError(f"encoding raw goes with a pack, got {kind}; use png, which loses nothing")
    if kind == "bin" and encoding != "keep":
        raise ValueError(f"encoding must be keep for a .bin, got {encoding}")
    if kind == "rec" and out.suffix != ".rec":
        raise ValueError(f"out must end in .rec, since .idx stands beside it, got {out.name!r}")
    if has_pairs and kind != "bin":
        raise ValueError(f"pairs go with a .bin, got {kind}")
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")


def _order(faces: EncodedFaces, kind: str) -> Rows:
    """Return the order to write in: the source's own, but people together for a .rec."""
    order = np.arange(len(faces))
    is_grouped = np.count_nonzero(np.diff(faces.labels)) + 1 == len(np.unique(faces.labels))
    if kind != "rec" or is_grouped:
        return order
    return np.argsort(faces.labels, kind="stable").astype(np.int64)


def _job(faces: EncodedFaces, kind: str, encoding: str, chunk: int) -> dict[str, Any]:
    """Return what must be the same for a killed run to be taken up."""
    mark = hashlib.sha256("\n".join(faces.names).encode())
    mark.update(np.ascontiguousarray(faces.labels).tobytes())
    told: dict[str, Any] = {"version": 1, "kind": kind, "encoding": encoding, "chunk": chunk}
    told |= {"source": str(faces.path.resolve()), "set": mark.hexdigest()}
    if faces.path.is_file():
        stat = faces.path.stat()
        told |= {"size": stat.st_size, "changed_ns": stat.st_mtime_ns}
    return told


def _checked(item: FaceItem) -> FaceItem:
    if item.name.partition("/")[0] != item.identity:
        raise DataError(f"a name must begin with its identity {item.identity!r}, got {item.name!r}")
    return item
