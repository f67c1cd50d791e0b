"""How one aligned picture lies in a pack: as raw bytes, as JPEG of quality 95, or as PNG.

Raw is the default. Of 112×112 pictures in random order, one core reads some 130,000 raw ones a
second, 6,000 JPEG and 2,400 PNG, so that raw alone costs the training cores nothing. It takes
37.6 kB a picture; JPEG, lossy, takes a quarter of that and is the choice beyond a million pictures.
`benchmarks/bench_data.py` measures all three.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.errors import DataError, unknown_name

Encoding = str  # one of ENCODINGS; checked where it comes in, with a hint
ENCODINGS = ("raw", "jpeg", "png")
JPEG_QUALITY = 95


def check_encoding(encoding: str) -> None:
    """Raise unless `encoding` is one of the table.

    Raises:
        ValueError: If it is not, with the nearest name.
    """
    if encoding not in ENCODINGS:
        raise unknown_name("encoding", encoding, ENCODINGS)


def encode(image: NDArray[np.uint8], encoding: str) -> bytes:
    """Return the stored bytes of an RGB picture, shape (height, width, 3)."""
    if encoding == "raw":
        return image.tobytes()
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if encoding == "jpeg":
        _, stored = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    else:
        _, stored = cv2.imencode(".png", bgr)
    return stored.tobytes()


def decode(stored: NDArray[np.uint8], encoding: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the RGB picture of `stored` bytes, shape (*size, 3).

    Raises:
        DataError: If the bytes are not a picture of that size.
    """
    if encoding == "raw":
        return stored.reshape(*size, 3)
    image = cv2.imdecode(stored, cv2.IMREAD_COLOR_RGB) if stored.size else None
    if image is None or image.shape[:2] != size:
        got = "no picture" if image is None else f"shape {image.shape[:2]}"
        raise DataError(f"a stored {encoding} picture must have shape {size}, got {got}")
    return np.asarray(image, dtype=np.uint8)
