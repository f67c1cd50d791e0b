"""WebDataset shards: tar files in which the members of one picture share a key.

    shard-000000.tar
        000000000.jpg    the picture file
        000000000.cls    its label, in decimal
        000000000.json   {"identity": "anna", "name": "anna/anna_0001.jpg"}

Foreign shards need the picture and either `.cls`, or an "identity" or "label" in `.json`. Shards
are read in the order of their names, by Python's tarfile alone; compressed ones are refused.
"""

import io
import json
import mmap
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from marginface.data.convert_sinks import Sink, safe_name
from marginface.data.encoded_faces import EncodedFaces, FaceItem, Rows, Stored, identity_rows
from marginface.data.pack_format import Remark
from marginface.data.pictures import ENDINGS
from marginface.errors import DataError


def shards_of(path: Path) -> list[Path]:
    """Return the tar files `path` is or holds, in order."""
    return sorted(path.glob("*.tar")) if path.is_dir() else [path]


def open_webdataset(path: str | Path) -> EncodedFaces:
    """Open one shard, or a folder of them; every member's head is read once.

    Samples without a picture or without a label are left out and listed.

    Raises:
        DataError: If a shard is cut off or no tar file, a label is none, or no sample is whole.
    """
    path = Path(path)
    shards = shards_of(path)
    places: list[tuple[int, int, int]] = []
    owners: list[str] = []
    names: list[str] = []
    left_out: list[Remark] = []
    for number, shard in enumerate(shards):
        for key, sample in _samples(shard):
            if sample.picture is None or not sample.words:
                missing = "no label" if sample.picture else "no picture"
                left_out.append((f"{shard.name}:{key}", missing, "WebDataset"))
                continue
            identity, name = _names(shard, key, sample)
            places.append((number, *sample.picture))
            owners.append(identity)
            names.append(name)
    if not names:
        raise DataError(
            f"{path} must hold samples of a picture and a label (.jpg, .cls), "
            f"got {len(left_out):,} others in {len(shards):,} tar files"
        )
    identities, labels = identity_rows(owners)
    return EncodedFaces(
        path,
        "webdataset",
        ShardStore(shards, np.array(places, dtype=np.int64)),
        labels=labels,
        identities=identities,
        list_names=lambda: names,
        left_out=left_out,
        meta={"name": path.stem},
    )


class ShardStore:
    """The pictures in tar files, as views into the mapped files.

    Args:
        shards: The files.
        places: (shard, first byte, length) of each picture, shape (pictures, 3).
    """

    def __init__(self, shards: list[Path], places: Rows) -> None:
        self._shards = shards
        self._places = places
        self._views: dict[int, memoryview] = {}

    def contents(self, rows: Rows) -> Sequence[Stored]:
        """Return the stored pictures of some rows."""
        places = self._places[rows].tolist()
        return [self._view(shard)[begin : begin + size] for shard, begin, size in places]

    def _view(self, shard: int) -> memoryview:
        if shard not in self._views:
            with self._shards[shard].open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._views[shard] = memoryview(mapped)
        return self._views[shard]


class WebDatasetSink(Sink):
    """Write shards of equally many pictures; each is whole when the next begins."""

    def start(self, state: dict[str, Any] | None) -> None:
        """Go on with the shard after those that are whole."""
        self._number: int = state["shard"] if state else 0
        self._count: int = state["count"] if state else 0
        self._tar: tarfile.TarFile | None = None
        if not self._is_single:
            self.target.mkdir(parents=True, exist_ok=True)

    def write(self, item: FaceItem) -> None:
        """Append the three members of one picture."""
        if self._tar is None:
            self._tar = tarfile.open(self._shard(), "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        key = f"{self._count:09d}"
        described = {"identity": item.identity, "name": item.name}
        ending = PurePosixPath(item.name).suffix.lower()
        self._add(key + (ending if ending in ENDINGS else ".jpg"), item.content)
        self._add(f"{key}.cls", str(item.label).encode())
        self._add(f"{key}.json", json.dumps(described, ensure_ascii=False).encode())
        self._count += 1

    def mark(self) -> dict[str, Any]:
        """Close the shard; the next picture begins another."""
        self.close()
        # A target that is one file has one shard, which a killed run begins again.
        self._number += 1
        return {"shard": self._number, "count": self._count}

    def finish(self) -> None:
        """Close the last shard."""
        self.close()

    def close(self) -> None:
        """Close the open shard, if there is one."""
        if self._tar is not None:
            self._tar.close()
            self._tar = None

    @property
    def _is_single(self) -> bool:
        return self.target.suffix == ".tar"

    def _shard(self) -> Path:
        return self.target if self._is_single else self.target / f"shard-{self._number:06d}.tar"

    def _add(self, name: str, content: bytes) -> None:
        # No times and owners, so that the same pictures make the same bytes.
        member = tarfile.TarInfo(name)
        member.size = len(content)
        assert self._tar is not None
        self._tar.addfile(member, io.BytesIO(content))


class _Sample:
    """What is known of one key: where the picture lies, and what is said of it."""

    def __init__(self) -> None:
        self.picture: tuple[int, int] | None = None
        self.ending = ".jpg"
        self.words: dict[str, Any] = {}


def _samples(shard: Path) -> Iterator[tuple[str, _Sample]]:
    """Yield key and sample; members of a key stand together, as the format asks."""
    key, sample = "", _Sample()
    for member, content in _members(shard):
        folder, _, file = member.name.rpartition("/")
        stem, _, ending = file.partition(".")
        its_key = f"{folder}/{stem}" if folder else stem
        if its_key != key:
            if key:
                yield key, sample
            key, sample = its_key, _Sample()
        if f".{ending.lower()}" in ENDINGS:
            sample.picture = (member.offset_data, member.size)
            sample.ending = f".{ending}"
        elif ending == "cls":
            sample.words["label"] = _label(shard, member.name, content)
        elif ending == "json":
            sample.words |= _described(shard, member.name, content)
    if key:
        yield key, sample


def _members(shard: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Yield every file of a shard, with the content of the small ones."""
    try:
        size = shard.stat().st_size
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.offset_data + member.size > size:
                    raise DataError(
                        f"{shard}: {member.name} (byte {member.offset_data:,}) must take "
                        f"{member.size:,} bytes, but the file ends after {size:,}; "
                        "it was cut off, copy it again"
                    )
                if not member.isfile():
                    continue
                is_small = member.name.endswith((".cls", ".json"))
                file = tar.extractfile(member) if is_small else None
                yield member, file.read() if file is not None else b""
                # Without this, tarfile keeps every member it has seen.
                tar.members = []  # type: ignore[attr-defined]
    except (tarfile.TarError, OSError) as cause:
        raise DataError(f"{shard} must be an uncompressed tar file ({cause})") from cause


def _label(shard: Path, name: str, content: bytes) -> int:
    text = content.strip()
    if not text.isdigit():
        raise DataError(f"{shard}: {name} must hold a whole number, got {content[:40]!r}")
    return int(text)


def _described(shard: Path, name: str, content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError as cause:
        raise DataError(f"{shard}: {name} must hold JSON ({cause})") from cause
    words = found if isinstance(found, dict) else {}
    kept = {key: words[key] for key in ("identity", "name") if isinstance(words.get(key), str)}
    if isinstance(words.get("label"), int) and words["label"] >= 0:
        kept["label"] = words["label"]
    return kept


def _names(shard: Path, key: str, sample: _Sample) -> tuple[str, str]:
    identity = sample.words.get("identity")
    if identity is None:
        if "label" not in sample.words:
            raise DataError(f"{shard}: {key} must have a label or an identity, got {sample.words}")
        identity = f"{sample.words['label']:07d}"
    name = sample.words.get("name", "")
    if not name.startswith(f"{identity}/"):
        name = f"{identity}/{key.replace('/', '_')}{sample.ending}"
    return identity, safe_name(identity, name)
