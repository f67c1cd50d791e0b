"""Reading a RecordIO file: memory-mapped, by random access, all frames looked at in one go."""

import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.recordio import FIRST, FRAME, LAST, MAGIC, MAGIC_BYTES, MAX_LENGTH, MIDDLE
from marginface.errors import DataError

_BLOCK_WORDS = 1 << 24


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordFile:
    """A record file, memory-mapped; `open` makes one.

    Args:
        path: The .rec file.
        keys: Key of each record, in the order of the index.
        offsets: The byte at which each begins.
        lengths: Bytes of its payload; of the first part, if it is cut.
        is_cut: Whether it has several parts.
        data: The bytes of the whole file.
    """

    path: Path
    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    is_cut: NDArray[np.bool_]
    data: NDArray[np.uint8]

    @classmethod
    def open(cls, path: str | Path) -> "RecordFile":
        """Open a record file with the .idx beside it, or without, by a scan of the whole.

        Every record's frame is looked at, all at once; so a cut or broken file is found here.

        Raises:
            DataError: If a file is absent or broken; the message names record and byte.
        """
        path = Path(path)
        data = _mapped(path)
        index = path.with_suffix(".idx")
        keys, offsets = read_index(index) if index.is_file() else scan(path, data)
        words = data[: data.size & ~3].view("<u4")
        places = _inside(path, keys, offsets, data.size)
        _all_magic(path, keys, offsets, words[places])
        frames = words[places + 1]
        flags, lengths = frames >> 29, (frames & MAX_LENGTH).astype(np.int64)
        if (wrong := np.flatnonzero(flags > FIRST)).size:
            raise record_error(
                path, keys, offsets, _foremost(wrong, offsets), "is the rest of another record"
            )
        if (wrong := np.flatnonzero(offsets + 8 + lengths > data.size)).size:
            row = _foremost(wrong, offsets)
            raise record_error(
                path, keys, offsets, row,
                f"must hold {lengths[row]:,} bytes, but the file ends after "
                f"{data.size - offsets[row] - 8:,} of them; it was cut off, copy it again",
            )  # fmt: skip
        return cls(
            path=path, keys=keys, offsets=offsets, lengths=lengths, is_cut=flags == FIRST, data=data
        )

    def __len__(self) -> int:
        return len(self.keys)

    def payload(self, row: int) -> memoryview:
        """Return the payload of one record; a copy only if it was cut.

        Raises:
            DataError: If the parts of a cut record do not follow one another.
        """
        begin = int(self.offsets[row]) + 8
        if not self.is_cut[row]:
            return self.data.data[begin : begin + int(self.lengths[row])]
        pieces: list[bytes] = []
        place = begin - 8
        while True:
            magic, frame = FRAME.unpack_from(self.data[place : place + 8].tobytes().ljust(8))
            flag, length = frame >> 29, frame & MAX_LENGTH
            allowed = (MIDDLE, LAST) if pieces else (FIRST,)
            if magic != MAGIC or flag not in allowed or place + 8 + length > self.data.size:
                raise record_error(
                    self.path, self.keys, self.offsets, row,
                    f"must go on at byte {place:,} with its part {len(pieces) + 1}, "
                    f"got {magic:#010x} {frame:#010x}",
                )  # fmt: skip
            pieces.append(self.data[place + 8 : place + 8 + length].tobytes())
            if flag == LAST:
                return memoryview(MAGIC_BYTES.join(pieces))
            place += 8 + length + (-length % 4)


def record_error(
    path: Path, keys: NDArray[np.int64], offsets: NDArray[np.int64], row: int, what: str
) -> DataError:
    """Return the error about one record, by key and byte."""
    return DataError(f"{path} record {keys[row]} (byte {offsets[row]:,}): {what}")


def read_index(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return keys and byte offsets of an .idx file, in its order.

    Raises:
        DataError: If a line is not two whole numbers.
    """
    text = path.read_bytes()
    codes = np.frombuffer(text, np.uint8)
    allowed = np.zeros(256, np.bool_)
    allowed[list(b"0123456789\t \r\n")] = True
    if not allowed[codes].all():
        place = int(np.argmin(allowed[codes]))
        line = text.count(b"\n", 0, place) + 1
        raise DataError(
            f"{path} line {line:,}: a record must be 'key TAB offset' in whole numbers, "
            f"got {text.splitlines()[line - 1][:40]!r}; remove the file to have it found anew"
        )
    numbers = np.fromstring(text, dtype=np.int64, sep=" ")
    lines = int(np.count_nonzero(codes == ord("\n"))) + (not text.endswith(b"\n") and bool(text))
    if numbers.size != 2 * lines or not lines:
        raise DataError(
            f"{path} must hold two numbers in each of its {lines:,} lines, got {numbers.size:,}; "
            "remove the file to have it found anew"
        )
    return numbers[0::2].copy(), numbers[1::2].copy()


def scan(path: Path, data: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find all records of a file without an index; the keys are the ids in the headers.

    Raises:
        DataError: If the file does not consist of records from its first to its last byte.
    """
    words = data[: data.size & ~3].view("<u4")
    blocks = [
        np.flatnonzero(words[begin : begin + _BLOCK_WORDS] == MAGIC) + begin
        for begin in range(0, words.size, _BLOCK_WORDS)
    ]
    places = np.concatenate(blocks) if blocks else np.zeros(0, np.int64)
    # A magic in the last four bytes has no length behind it; the check of the ends finds it.
    parts = places[places + 1 < words.size] * 4
    frames = words[(parts >> 2) + 1]
    lengths = (frames & MAX_LENGTH).astype(np.int64)
    ends = np.concatenate([np.zeros(1, np.int64), parts + 8 + lengths + (-lengths % 4)])
    begins = np.append(parts, data.size)
    if (wrong := np.flatnonzero(begins != ends)).size:
        raise _gap(path, data, int(wrong[0]), begins, ends)
    first = parts[(frames >> 29) <= FIRST]
    ids = np.arange(len(first))
    bases = (first >> 2) + 2
    if len(first) and int(bases[-1]) + 4 <= words.size:
        found = words[bases + 2].astype(np.int64)
        # Files whose writer left the ids alone have the same in all; then the order counts.
        ids = found if len(np.unique(found)) == len(found) else ids
    return ids.astype(np.int64), first.astype(np.int64)


def _gap(
    path: Path,
    data: NDArray[np.uint8],
    part: int,
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> DataError:
    end, begin = int(ends[part]), int(begins[part])
    if end > begin:
        place, came = int(begins[part - 1]), begin - int(begins[part - 1]) - 8
        cause = "the file ends" if begin == data.size else "another record begins"
        return DataError(
            f"{path} record {part - 1} of the file (byte {place:,}): must take "
            f"{end - place - 8:,} bytes, but {cause} after {came:,}; it was cut off or altered, "
            "copy it again"
        )
    if data.size - end < FRAME.size:
        return DataError(
            f"{path} record {part} of the file (byte {end:,}): must have a frame of {FRAME.size} "
            f"bytes, but the file ends after {data.size - end}; it was cut off, copy it again"
        )
    return DataError(
        f"{path} record {part} of the file (byte {end:,}): must begin with {MAGIC:#010x}, "
        f"got {int.from_bytes(data[end : end + 4].tobytes(), 'little'):#010x}; "
        "it was altered, copy it again"
    )


def _mapped(path: Path) -> NDArray[np.uint8]:
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as cause:
        # An empty file cannot be mapped, which is a ValueError.
        reason = getattr(cause, "strerror", None) or "it is empty"
        raise DataError(
            f"{path} must be a record file, but could not be read ({reason})"
        ) from cause
    return np.frombuffer(mapped, np.uint8)


def _foremost(rows: NDArray[np.int64], offsets: NDArray[np.int64]) -> int:
    return int(rows[np.argmin(offsets[rows])])


def _inside(
    path: Path, keys: NDArray[np.int64], offsets: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Return the word each record begins at."""
    wrong = np.flatnonzero((offsets < 0) | (offsets % 4 != 0) | (offsets + 8 > size))
    if wrong.size:
        row = _foremost(wrong, offsets)
        raise record_error(
            path, keys, offsets, row,
            f"must begin at a multiple of 4 within the file's {size:,} bytes; it was cut off, or "
            f"{path.with_suffix('.idx').name} belongs to another file",
        )  # fmt: skip
    return offsets >> 2


def _all_magic(
    path: Path, keys: NDArray[np.int64], offsets: NDArray[np.int64], found: NDArray[np.uint32]
) -> None:
    if (wrong := np.flatnonzero(found != MAGIC)).size:
        row = _foremost(wrong, offsets)
        raise record_error(
            path, keys, offsets, row,
            f"must begin with {MAGIC:#010x}, got {found[row]:#010x}; it was altered, or "
            f"{path.with_suffix('.idx').name} belongs to another file",
        )  # fmt: skip
