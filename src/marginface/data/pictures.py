"""Reading one picture file, strictly: a cut-off file is refused, not half shown."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.errors import DataError

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".pgm", ".ppm", ".bmp", ".webp"})


def read_picture(path: str | Path) -> NDArray[np.uint8]:
    """Return a picture as RGB, shape (height, width, 3), turned as its EXIF orientation says.

    Grey pictures become RGB of three equal channels; transparency is dropped.

    Raises:
        DataError: If the file is absent, cut off, or not a picture.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise DataError(f"{path} could not be read ({cause.strerror or cause})") from cause
    return decode_picture(content, str(path))


def decode_picture(content: bytes, name: str) -> NDArray[np.uint8]:
    """Return the picture held by the bytes of a file; `name` is for messages.

    Raises:
        DataError: If they are cut off, or not a picture.
    """
    if not content:
        raise DataError(f"{name} must be a picture, got an empty file")
    # OpenCV fills what is missing with grey and says nothing, so the end is looked for here.
    if _is_cut(content):
        raise DataError(f"{name} is cut off after {len(content):,} bytes; copy it again")
    try:
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as cause:
        raise DataError(f"{name} does not decode ({cause.err})") from cause
    if image is None:
        raise DataError(
            f"{name} must be a JPEG, PNG, WebP, PGM or BMP picture, got {len(content):,} bytes "
            f"beginning {content[:8]!r}"
        )
    return np.asarray(image, dtype=np.uint8)


def _is_cut(content: bytes) -> bool:
    if content.startswith(b"\xff\xd8\xff"):
        # Inside a scan 0xFF is always followed by 0 or a restart mark, so an end mark after the
        # last scan's beginning is the real one, and not that of an EXIF thumbnail.
        return content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND" not in content[-64:] and content.rfind(b"IEND") < content.rfind(b"IDAT")
    if content.startswith(b"BM"):
        return len(content) < int.from_bytes(content[2:6], "little")
    if content[:2] in (b"P5", b"P6"):
        return _is_cut_netpbm(content)
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return len(content) < int.from_bytes(content[4:8], "little") + 8
    return False


def _is_cut_netpbm(content: bytes) -> bool:
    words: list[bytes] = []
    place = 0
    while len(words) < 4 and place < len(content):
        if content[place : place + 1] == b"#":
            place = (content.find(b"\n", place) + 1) or len(content)
        elif content[place : place + 1].isspace():
            place += 1
        else:
            end = place
            while end < len(content) and not content[end : end + 1].isspace():
                end += 1
            words.append(content[place:end])
            place = end
    if len(words) < 4 or not all(word.isdigit() for word in words[1:]):
        return False
    width, height, highest = map(int, words[1:])
    channels = 3 if words[0] == b"P6" else 1
    needed = width * height * channels * (2 if highest > 255 else 1)
    return len(content) - place - 1 < needed
