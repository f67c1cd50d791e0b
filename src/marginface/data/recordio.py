"""MXNet's RecordIO, without MXNet: framed payloads in one file, found by an index beside it.

    record   = part+
    part     = magic u32, flag * 2**29 + length u32, bytes, zeros up to a multiple of 4
    payload  = IRHeader, labels, picture
    IRHeader = flag u32, label f32, id u64, id2 u64; flag > 0 says how many f32 labels follow

All little-endian. Where a payload holds the magic at a multiple of 4, it is cut there and the magic
left out: the parts have flags 1 (first), 2 (middle), 3 (last), an uncut record has 0. So every
aligned magic in a file begins a part, and a lost index is found again by comparing the whole file
with one number. The index, `.idx`, has lines of key, tab, byte offset.

Source: dmlc-core, recordio.h and recordio.cc; MXNet, python/mxnet/recordio.py.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
HEADER = struct.Struct("<IfQQ")
WHOLE, FIRST, MIDDLE, LAST = range(4)
MAX_LENGTH = (1 << 29) - 1
FRAME = struct.Struct("<II")


class Header(NamedTuple):
    """What stands before the picture of a record."""

    labels: tuple[float, ...]
    id: int
    id2: int
    flag: int


def pack_header(labels: float | Sequence[float], *, id: int, id2: int = 0) -> bytes:
    """Return the bytes before a picture: one label in the header itself, several behind it.

    Example:
        >>> len(pack_header(7.0, id=1)), len(pack_header([7.0, 1.0], id=1))
        (24, 32)
    """
    if isinstance(labels, int | float):
        return HEADER.pack(0, labels, id, id2)
    return HEADER.pack(len(labels), 0.0, id, id2) + struct.pack(f"<{len(labels)}f", *labels)


def unpack_header(payload: bytes | memoryview) -> tuple[Header, int]:
    """Return the header of a payload and the number of bytes before its picture.

    Raises:
        ValueError: If the payload is shorter than its header.
    """
    if len(payload) < HEADER.size:
        raise ValueError(f"a record must hold a header of {HEADER.size} bytes, got {len(payload)}")
    flag, label, number, number2 = HEADER.unpack_from(payload)
    length = HEADER.size + 4 * flag
    if len(payload) < length:
        raise ValueError(f"a record must hold its {flag:,} labels, got {len(payload):,} bytes")
    labels = struct.unpack_from(f"<{flag}f", payload, HEADER.size) if flag else (label,)
    return Header(labels, number, number2, flag), length


def framed(payload: bytes) -> bytes:
    """Return a payload as it lies in the file, cut where it holds the magic.

    Raises:
        ValueError: If it is longer than 2**29 - 1 bytes, which the format cannot say.

    Example:
        >>> framed(b"abcde").hex(" ", 4)
        '0a23d7ce 05000000 61626364 65000000'
    """
    if len(payload) > MAX_LENGTH:
        raise ValueError(f"a record must hold at most {MAX_LENGTH:,} bytes, got {len(payload):,}")
    padding = bytes(-len(payload) % 4)
    if MAGIC_BYTES not in payload:
        return b"".join((FRAME.pack(MAGIC, len(payload)), payload, padding))
    pieces, begin, place = [], 0, payload.find(MAGIC_BYTES)
    while place >= 0:
        if place % 4 == 0:
            pieces.append(payload[begin:place])
            begin = place + 4
        place = payload.find(MAGIC_BYTES, place + 1)
    pieces.append(payload[begin:])
    flags = [FIRST, *[MIDDLE] * (len(pieces) - 2), LAST] if len(pieces) > 1 else [WHOLE]
    parts = [
        FRAME.pack(MAGIC, flag << 29 | len(piece)) + piece
        for flag, piece in zip(flags, pieces, strict=True)
    ]
    return b"".join((*parts, padding))


@runtime_checkable
class Writable(Protocol):
    """A file open for writing bytes."""

    def write(self, content: bytes, /) -> object:
        """Take the next bytes."""


class RecordWriter:
    """Append records to an open file.

    Args:
        file: Open for writing bytes, at its end.
        position: The length of the file so far.
    """

    def __init__(self, file: Writable, *, position: int = 0) -> None:
        self._file = file
        self.position = position

    def write(self, payload: bytes) -> int:
        """Append one record and return the byte it begins at."""
        begin, stored = self.position, framed(payload)
        self._file.write(stored)
        self.position += len(stored)
        return begin
