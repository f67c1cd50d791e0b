"""Record files written by a plain loop, after the published format and not by our writer."""

import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.data.made import smooth_image

MAGIC = struct.pack("<I", 0xCED7230A)


def jpeg(seed: int, size: int = 16) -> bytes:
    return cv2.imencode(".jpg", smooth_image(seed, size)[..., ::-1])[1].tobytes()


def plain_record(payload: bytes) -> bytes:
    """As dmlc's writer does it: word by word, cutting at each magic."""
    parts, begin = b"", 0
    for place in range(0, len(payload) // 4 * 4, 4):
        if payload[place : place + 4] == MAGIC:
            flag = 1 if begin == 0 else 2
            parts += MAGIC + struct.pack("<I", flag << 29 | place - begin) + payload[begin:place]
            begin = place + 4
    flag = 3 if begin else 0
    parts += MAGIC + struct.pack("<I", flag << 29 | len(payload) - begin) + payload[begin:]
    return parts + bytes(-len(payload) % 4)


def header(labels: list[float], number: int, *, is_array: bool) -> bytes:
    if not is_array:
        return struct.pack("<IfQQ", 0, labels[0], number, 0)
    return struct.pack("<IfQQ", len(labels), 0.0, number, 0) + np.float32(labels).tobytes()


def write_rec(
    path: Path,
    *,
    people: int = 3,
    each: int = 4,
    has_header: bool = True,
    is_array: bool = False,
    extra: dict[int, bytes] | None = None,
    labels: NDArray[np.float32] | None = None,
) -> list[bytes]:
    """Write pictures 1 … n, the header 0 and the identity records; return the pictures."""
    pictures = [jpeg(number) for number in range(people * each)]
    for number, tail in (extra or {}).items():
        pictures[number] += tail
    lines, content = [], b""
    records = []
    for number, picture in enumerate(pictures):
        label = float(number // each) if labels is None else float(labels[number])
        head = header([label, 1.0] if is_array else [label], number + 1, is_array=is_array)
        records.append((number + 1, head + picture))
    if has_header:
        behind = len(pictures) + 1
        records.append((0, header([behind, behind + people], 0, is_array=True)))
        records += [
            (
                behind + row,
                header([1 + row * each, 1 + (row + 1) * each], behind + row, is_array=True),
            )
            for row in range(people)
        ]
    for key, payload in records:
        lines.append(f"{key}\t{len(content)}\n")
        content += plain_record(payload)
    path.write_bytes(content)
    path.with_suffix(".idx").write_text("".join(lines))
    return pictures
