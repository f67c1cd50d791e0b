"""The little of MATLAB's MAT 5 format that lists of pictures need: numbers and cells of names.

A file is a header of 128 bytes and elements, each a type, a length and data; an element may be
deflated. Structures, objects, sparse and complex arrays are refused. Nothing is executed.

Source: MathWorks, "MAT-File Format", version 5.
"""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.errors import ProtocolFileError

MATRIX, COMPRESSED = 14, 15
NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
TEXT = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
CELL, CHAR = 1, 4
NUMERIC = range(6, 16)


def read_mat(path: str | Path) -> dict[str, list[str] | NDArray[Any]]:
    """Return the arrays of a MAT 5 file: numbers flat, in MATLAB's order; cells as lists of text.

    Raises:
        ProtocolFileError: If it is no such file, is cut off, or holds another kind of array.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as cause:
        raise ProtocolFileError(f"{path} could not be read ({cause.strerror or cause})") from cause
    if len(content) < 128 or content[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise ProtocolFileError(f"{path} must be a MAT 5 file, got {content[:16]!r}")
    order = "<" if content[126:128] == b"IM" else ">"
    arrays: dict[str, list[str] | NDArray[Any]] = {}
    try:
        for kind, data in _elements(content[128:], order):
            if kind == COMPRESSED:
                kind, data = next(_elements(zlib.decompress(data), order))
            if kind == MATRIX:
                name, value = _matrix(data, order)
                arrays[name] = value
    except (struct.error, zlib.error, ValueError, StopIteration, KeyError) as cause:
        raise ProtocolFileError(
            f"{path} must hold numbers or cells of text, got something else or a cut-off part "
            f"({cause})"
        ) from cause
    return arrays


def _elements(content: bytes, order: str) -> Any:
    place = 0
    while place + 8 <= len(content):
        kind, length = struct.unpack_from(order + "II", content, place)
        if kind >> 16:  # a small element: length and type in one word, data in the next
            yield kind & 0xFFFF, content[place + 4 : place + 4 + (kind >> 16)]
            place += 8
            continue
        data = content[place + 8 : place + 8 + length]
        if len(data) < length:
            raise ValueError(f"{length:,} bytes were promised, {len(data):,} are there")
        yield kind, data
        # Elements stand on multiples of 8 bytes, deflated ones do not.
        place += 8 + length + (0 if kind == COMPRESSED else -length % 8)


def _matrix(data: bytes, order: str) -> tuple[str, Any]:
    parts = list(_elements(data, order))
    flags = struct.unpack_from(order + "I", parts[0][1])[0]
    name = parts[2][1].decode("ascii")
    kind = flags & 0xFF
    if kind == CELL:
        cells = [_matrix(cell, order)[1] for element, cell in parts[3:] if element == MATRIX]
        # A cell in a cell holds one text, as MATLAB's own lists of names have it.
        return name, [cell[0] if isinstance(cell, list) else cell for cell in cells]
    if kind == CHAR:
        element, text = parts[3]
        coded = TEXT.get(element)
        if coded is None:
            return name, "".join(map(chr, np.frombuffer(text, order + NUMBERS[element])))
        return name, text.decode(
            coded + ("" if coded == "utf-8" else "-le" if order == "<" else "-be")
        )
    if kind not in NUMERIC or flags & 0x800:
        raise ValueError(f"an array of class {kind}")
    element, numbers = parts[3]
    return name, np.frombuffer(numbers, order + NUMBERS[element])
