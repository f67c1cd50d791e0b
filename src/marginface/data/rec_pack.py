"""insightface's training sets: a .rec of pictures with labels, an .idx, a .lst where there is one.

    key 0                  header record: labels = first identity record, last + 1; no picture
    keys 1 … first - 1     pictures; the first label is the class
    keys first … last      identity records: labels = first picture, last + 1; no picture

A file without a header record holds pictures only. `train.rec` may have a file `property` beside,
"classes,height,width". Identities are the labels with seven digits, unless `.lst` gives names:
lines of key, label, "identity/picture" parted by tabs, as MXNet's im2rec writes them.

Labels are float32 in the file, whole numbers up to 2**24; a header beyond that is not exact.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from marginface.data.encoded_faces import EncodedFaces, Rows, Stored
from marginface.data.recordio import HEADER, unpack_header
from marginface.data.recordio_reader import RecordFile, record_error
from marginface.errors import DataError

# Beyond it float32 leaves whole numbers out.
LAST_EXACT = 1 << 24
_Table = tuple[NDArray[np.float32], Rows, Rows, Rows]


def open_rec(path: str | Path, *, classes: int | None = None) -> EncodedFaces:
    """Open a .rec file as a set of faces; without an .idx it is scanned.

    Args:
        path: The .rec file.
        classes: How many classes there must be; by default what the file `property` or the header
            record says, and no limit without either.

    Raises:
        DataError: If it is cut off or broken, or a label is none or beyond the classes; the message
            names record and byte.
    """
    file = RecordFile.open(path)
    labels, flags, begins, ends = _headers(file)
    is_empty = begins == ends
    header = np.flatnonzero((file.keys == 0) & (flags > 0) & is_empty)
    rows = np.arange(len(file))
    if header.size:
        rows = np.flatnonzero(~is_empty)
        _check_count(file, int(header[0]), len(rows))
        classes = classes or _promised_classes(file, int(header[0]), is_empty)
    if file.path.stem == "train" and (said := file.path.with_name("property")).is_file():
        classes = classes if classes is not None else _property_classes(said)
    # By key, as insightface reads them; nearly always that is the order of the index.
    rows = rows if (np.diff(file.keys[rows]) > 0).all() else rows[np.argsort(file.keys[rows])]
    numbers = _whole_labels(file, rows, labels[rows], classes)
    present = np.bincount(numbers) > 0 if numbers.size else np.zeros(0, np.bool_)
    ranks = (np.cumsum(present) - 1).astype(np.int64)
    classes_found = np.flatnonzero(present).tolist()
    width = max(7, len(str(classes_found[-1]))) if classes_found else 7
    listed = _Listed(file, rows, ranks[numbers], [f"{label:0{width}d}" for label in classes_found])
    return EncodedFaces(
        file.path,
        "rec",
        RecStore(file, rows, begins, ends),
        labels=listed.labels,
        identities=listed.identities,
        list_names=lambda: listed.names,
        is_aligned=True,
        meta={"name": file.path.stem, "has_header": bool(header.size)},
    )


class RecStore:
    """The pictures in a record file, as views into the mapped file.

    Args:
        file: The records.
        rows: Those of pictures, in the set's order.
        begins: The byte each picture begins at; in its payload, if the record is cut.
        ends: The byte behind it.
    """

    def __init__(self, file: RecordFile, rows: Rows, begins: Rows, ends: Rows) -> None:
        self.file = file
        # Side by side, so that a record costs one line of the processor's cache.
        self._spans = np.stack([begins[rows], ends[rows]], axis=1)
        self._view = file.data.data
        self._cut = {
            place: int(rows[place]) for place in np.flatnonzero(file.is_cut[rows]).tolist()
        }

    def contents(self, rows: Rows) -> Sequence[Stored]:
        """Return the stored pictures of some rows."""
        spans = self._spans.take(rows, axis=0)
        if not self._cut:
            return RecordViews(self._view, spans)
        found: list[Stored] = list(RecordViews(self._view, spans))
        for place, row in enumerate((rows % len(self._spans)).tolist()):
            if row in self._cut:
                found[place] = self.file.payload(self._cut[row])[slice(*spans[place].tolist())]
        return found


class RecordViews(Sequence[Stored]):
    """Some stretches of a mapped file, each made a view when it is asked for.

    Finding a record so costs less than the Python object that stands for it.

    Args:
        data: The file's bytes.
        spans: First byte and the one behind the last, shape (stretches, 2).
    """

    def __init__(self, data: memoryview, spans: NDArray[np.int64]) -> None:
        self._data = data
        self._spans = spans

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, place: int) -> memoryview: ...

    @overload
    def __getitem__(self, place: slice) -> "RecordViews": ...

    def __getitem__(self, place: int | slice) -> "memoryview | RecordViews":
        if isinstance(place, slice):
            return RecordViews(self._data, self._spans[place])
        begin, end = self._spans[place].tolist()
        return self._data[begin:end]

    def __iter__(self) -> Iterator[memoryview]:
        # All at once from one flat list: 190 ns each, where a generator of pairs takes 260.
        data, bounds = self._data, iter(self._spans.ravel().tolist())
        return iter([data[begin:end] for begin, end in zip(bounds, bounds, strict=True)])


class _Listed:
    """Names and identities: from the .lst if there is one, else from the labels."""

    def __init__(self, file: RecordFile, rows: Rows, labels: Rows, numbered: list[str]) -> None:
        self._keys = file.keys[rows]
        self._path = file.path.with_suffix(".lst")
        self.labels = labels
        self.identities = numbered
        self._named = _read_list(self._path, self._keys) if self._path.is_file() else None
        if self._named is not None:
            self._take_identities(self._named)

    def _take_identities(self, named: list[str]) -> None:
        owners = [name.partition("/")[0] for name in named]
        firsts = np.unique(self.labels, return_index=True)[1].tolist()
        called = [owners[row] for row in firsts]
        fits = all(
            called[label] == owner
            for label, owner in zip(self.labels.tolist(), owners, strict=True)
        )
        if not fits or len(set(called)) != len(called):
            raise DataError(
                f"{self._path} must give each label a folder of its own, and one only; "
                "remove it to go without names"
            )
        order = np.argsort(np.array(called))
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        self.labels = ranks[self.labels]
        self.identities = sorted(called)

    @cached_property
    def names(self) -> list[str]:
        if self._named is not None:
            return self._named
        # Number of each picture within its identity: its place in a stable sort by label.
        order = np.argsort(self.labels, kind="stable")
        counts = np.bincount(self.labels)
        numbers = np.empty(len(order), np.int64)
        numbers[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
        pairs = zip(self.labels.tolist(), numbers.tolist(), strict=True)
        people = self.identities
        return [f"{people[row]}/{people[row]}_{number:04d}.jpg" for row, number in pairs]


def _headers(file: RecordFile) -> _Table:
    """Return first label, flag, and where the picture begins and ends, of every record."""
    whole = ~file.is_cut
    lengths = file.lengths.copy()
    _all_hold(file, whole & (lengths < HEADER.size), "its header of 24 bytes")
    words = file.data[: file.data.size & ~3].view("<u4")
    # Cut records are looked at one by one below; row 0 stands in for them here.
    bases = np.where(whole, file.offsets + 8, 0) >> 2
    flags = np.where(whole, words[bases], 0).astype(np.int64)
    labels = words[bases + 1].view("<f4").copy()
    begins = HEADER.size + 4 * flags
    _all_hold(file, whole & (lengths < begins), "its labels")
    several = np.flatnonzero(whole & (flags > 0))
    labels[several] = words[bases[several] + 6].view("<f4")
    starts = np.where(whole, file.offsets + 8, 0)
    for row in np.flatnonzero(file.is_cut).tolist():
        payload = file.payload(row)
        try:
            header, begins[row] = unpack_header(payload)
        except ValueError as cause:
            raise record_error(file.path, file.keys, file.offsets, row, str(cause)) from cause
        labels[row], flags[row], lengths[row] = header.labels[0], header.flag, len(payload)
    return labels.astype(np.float32), flags, starts + begins, starts + lengths


def _all_hold(file: RecordFile, is_short: NDArray[np.bool_], what: str) -> None:
    if is_short.any():
        row = int(np.argmax(is_short))
        told = f"must hold {what}, got {file.lengths[row]:,} bytes in all"
        raise record_error(file.path, file.keys, file.offsets, row, told)


def _span(file: RecordFile, header: int) -> tuple[float, float]:
    labels = unpack_header(file.payload(header))[0].labels
    return labels[0], labels[-1]


def _check_count(file: RecordFile, header: int, pictures: int) -> None:
    first, _ = _span(file, header)
    if first <= LAST_EXACT and first != pictures + 1:
        raise record_error(
            file.path, file.keys, file.offsets, header,
            f"the header promises {first - 1:,.0f} pictures, got {pictures:,}; "
            "the .idx is cut off or belongs to another file",
        )  # fmt: skip


def _promised_classes(file: RecordFile, header: int, is_empty: NDArray[np.bool_]) -> int | None:
    first, behind = _span(file, header)
    promised = int(behind - first) if behind <= LAST_EXACT else 0
    # Sets are published with the header and without the identity records; then nothing is promised.
    return promised if promised > 0 and promised == int(is_empty.sum()) - 1 else None


def _property_classes(path: Path) -> int:
    words = path.read_text(encoding="utf-8", errors="replace").strip().split(",")
    if len(words) != 3 or not all(word.strip().isdecimal() for word in words):
        raise DataError(f"{path} must hold 'classes,height,width', got {','.join(words)[:40]!r}")
    return int(words[0])


def _whole_labels(
    file: RecordFile, rows: Rows, labels: NDArray[np.float32], classes: int | None
) -> Rows:
    wrong = ~((labels >= 0) & (labels <= LAST_EXACT) & (labels == np.floor(labels)))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise record_error(
            file.path, file.keys, file.offsets, int(rows[place]),
            f"the label must be a whole number from 0 to {LAST_EXACT:,}, got {labels[place]:g}",
        )  # fmt: skip
    numbers = labels.astype(np.int64)
    if classes is not None and (numbers >= classes).any():
        place = int(np.argmax(numbers >= classes))
        raise record_error(
            file.path, file.keys, file.offsets, int(rows[place]),
            f"the label must lie below the {classes:,} classes promised, got {numbers[place]:,}",
        )  # fmt: skip
    return numbers


def _read_list(path: Path, keys: Rows) -> list[str]:
    """Return "identity/picture" of each key."""
    found: dict[int, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split("\t")
        if len(words) < 3 or not words[0].isdecimal() or "/" not in words[-1]:
            raise DataError(
                f"{path} line {number:,}: a record must be 'key TAB label TAB identity/picture', "
                f"got {line[:60]!r}; remove the file to go without names"
            )
        found[int(words[0])] = "/".join(words[-1].rsplit("/", 2)[-2:])
    try:
        return [found[key] for key in keys.tolist()]
    except KeyError as absent:
        raise DataError(
            f"{path} must name record {absent.args[0]:,}, but does not; "
            "remove the file to go without names"
        ) from absent
