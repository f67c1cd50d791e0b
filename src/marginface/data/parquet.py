"""Parquet: one row a picture, written and read row group by row group.

    image     binary; a struct with a field "bytes" is read too
    name      "anna/anna_0001.jpg"
    identity  "anna"
    label     int32, row in the sorted identities

Foreign files need `image`, and `identity` or `label`. Needs pyarrow, the extra `parquet`.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from marginface.data.convert_sinks import Sink, safe_name
from marginface.data.encoded_faces import EncodedFaces, FaceItem, Rows, Stored, identity_rows
from marginface.errors import DataError, MissingExtraError

ROWS_PER_GROUP = 1000
_KEPT_BYTES = 1 << 28


def open_parquet(path: str | Path) -> EncodedFaces:
    """Open a Parquet file, or a folder of them; names and labels are read, pictures are not.

    Random access reads the whole row group of each picture; 256 MiB of them stay in memory. A set
    that is larger trains faster as a .rec.

    Raises:
        MissingExtraError: If pyarrow is not installed.
        DataError: If a file does not read, or has no pictures or no labels.
    """
    arrow = _pyarrow(path)
    path = Path(path)
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    owners: list[str] = []
    names: list[str] = []
    for file in files:
        with _opened(arrow, file) as opened:
            for identity, name in _described(file, opened, len(names)):
                owners.append(identity)
                names.append(name)
    if not names:
        raise DataError(f"{path} must hold rows, got none in {len(files):,} Parquet files")
    identities, labels = identity_rows(owners)
    return EncodedFaces(
        path,
        "parquet",
        ParquetStore(arrow, files),
        labels=labels,
        identities=identities,
        list_names=lambda: names,
        meta={"name": path.stem},
    )


class ParquetStore:
    """The pictures in Parquet files; the last row groups that were read stay in memory."""

    def __init__(self, arrow: Any, files: list[Path]) -> None:
        self._arrow = arrow
        self._groups: list[tuple[Path, int]] = []
        counts: list[int] = []
        for file in files:
            with _opened(arrow, file) as opened:
                for group in range(opened.metadata.num_row_groups):
                    self._groups.append((file, group))
                    counts.append(opened.metadata.row_group(group).num_rows)
        self._begins = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def contents(self, rows: Rows) -> Sequence[Stored]:
        """Return the stored pictures of some rows."""
        if rows.size and not 0 <= rows.min() <= rows.max() < self._begins[-1]:
            raise IndexError(f"rows must lie in [0, {self._begins[-1]:,})")
        groups = np.searchsorted(self._begins, rows, side="right") - 1
        places = rows - self._begins[groups]
        found: list[Stored] = [b""] * len(rows)
        for row in np.argsort(groups, kind="stable").tolist():
            found[row] = self._content(int(groups[row]), int(places[row]))
        return found

    def _content(self, group: int, place: int) -> bytes:
        # A loader's threads read together, and each may push out what another looks at.
        with self._lock:
            column = self._kept.pop(group, None)
            if column is None:
                file, number = self._groups[group]
                with _opened(self._arrow, file) as opened:
                    table = opened.read_row_group(number, columns=["image"])
                column = table.column("image").combine_chunks()
                self._held += column.nbytes
            self._kept[group] = column
            while self._held > _KEPT_BYTES and len(self._kept) > 1:
                self._held -= self._kept.popitem(last=False)[1].nbytes
        value = column[place].as_py()
        found = value.get("bytes") if isinstance(value, dict) else value
        # An empty picture is refused with its name, when it is decoded.
        return found if isinstance(found, bytes) else b""


class ParquetSink(Sink):
    """Write part files of equally many rows; a target that is one file takes all row groups."""

    def start(self, state: dict[str, Any] | None) -> None:
        """Go on with the part after those that are whole."""
        self._writer: Any = None
        self._rows: list[FaceItem] = []
        self._arrow = _pyarrow(self.target)
        self._number = state["part"] if state else 0
        self._parts = self.target.with_name("parts") if self._is_single else self.target
        self._parts.mkdir(parents=True, exist_ok=True)

    def write(self, item: FaceItem) -> None:
        """Append one row; a full row group goes to the disk."""
        self._rows.append(item)
        if len(self._rows) == ROWS_PER_GROUP:
            self._flush()

    def mark(self) -> dict[str, Any]:
        """Close the part; the next picture begins another."""
        self._flush()
        self.close()
        self._number += 1
        return {"part": self._number}

    def finish(self) -> None:
        """Close the last part, and put the parts together where one file is wanted."""
        self._flush()
        self.close()
        if not self._is_single:
            return
        with self._arrow.ParquetWriter(self.target, _schema(), **_OPTIONS) as writer:
            for part in sorted(self._parts.glob("*.parquet")):
                with _opened(self._arrow, part) as opened:
                    for group in range(opened.metadata.num_row_groups):
                        writer.write_table(opened.read_row_group(group))

    def close(self) -> None:
        """Close the open part, if there is one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @property
    def _is_single(self) -> bool:
        return self.target.suffix == ".parquet"

    def _flush(self) -> None:
        if not self._rows:
            return
        import pyarrow

        if self._writer is None:
            part = self._parts / f"part-{self._number:06d}.parquet"
            self._writer = self._arrow.ParquetWriter(part, _schema(), **_OPTIONS)
        columns = {
            "image": [item.content for item in self._rows],
            "name": [item.name for item in self._rows],
            "identity": [item.identity for item in self._rows],
            "label": [item.label for item in self._rows],
        }
        self._writer.write_table(pyarrow.table(columns, schema=_schema()))
        self._rows.clear()


# Pictures are compressed already; names and identities repeat.
_OPTIONS: dict[str, Any] = {
    "compression": {"image": "NONE", "name": "SNAPPY", "identity": "SNAPPY", "label": "SNAPPY"},
    "use_dictionary": ["identity"],
}


def _schema() -> Any:
    import pyarrow

    text = pyarrow.string()
    columns = {"image": pyarrow.binary(), "name": text, "identity": text, "label": pyarrow.int32()}
    return pyarrow.schema(list(columns.items()))


def _pyarrow(path: str | Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as cause:
        raise MissingExtraError(
            f"{path} is Parquet and needs pyarrow, which is not installed; "
            "pip install 'marginface[parquet]'"
        ) from cause
    return pyarrow.parquet


def _opened(arrow: Any, file: Path) -> Any:
    try:
        return arrow.ParquetFile(file)
    except (OSError, ValueError) as cause:
        # pyarrow's own errors are subclasses of these.
        told = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise DataError(f"{file} must be a Parquet file ({told})") from cause


def _described(file: Path, opened: Any, first: int) -> list[tuple[str, str]]:
    """Return identity and name of every row."""
    there = set(opened.schema_arrow.names)
    if "image" not in there or not there & {"identity", "label"}:
        raise DataError(
            f"{file} must have the columns image, and identity or label, got "
            f"{', '.join(opened.schema_arrow.names)}"
        )
    wanted = [column for column in ("identity", "name", "label") if column in there]
    table = opened.read(columns=wanted).to_pydict()
    rows = len(next(iter(table.values())))
    found = []
    for row in range(rows):
        words = {column: table[column][row] for column in wanted}
        identity = words.get("identity")
        if identity is None:
            label = words.get("label")
            if not isinstance(label, int) or label < 0:
                raise DataError(f"{file} row {row:,}: label must be a whole number, got {label!r}")
            identity = f"{label:07d}"
        name = words.get("name") or ""
        if not name.startswith(f"{identity}/"):
            name = f"{identity}/{identity}_{first + row:09d}.jpg"
        found.append((identity, safe_name(identity, name)))
    return found
