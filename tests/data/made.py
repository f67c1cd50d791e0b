"""Small made folders and packs for the tests of the data room."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.data import PackedFaces, PackWriter

PICTURES = Path(__file__).parents[1] / "pictures"


def smooth_image(seed: int, size: int = 16) -> NDArray[np.uint8]:
    """A smooth random picture, which JPEG keeps well."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))


def make_pack(
    path: Path,
    *,
    people: int = 4,
    each: int = 5,
    size: int = 16,
    encoding: str = "raw",
    **options: bool,
) -> PackedFaces:
    with PackWriter(path, size=size, encoding=encoding, meta={"made": True}, **options) as writer:
        for number in range(people * each):
            # Written in turn, so that order of writing and order of labels differ.
            person = f"p{(number * 3) % people}"
            name = f"{person}/{person}_{number // people + 1:04d}.png"
            writer.add(smooth_image(number, size), person, name, truth={"number": number})
    return PackedFaces.open(path)


def save(path: Path, image: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
    assert cv2.imwrite(str(path), bgr)
    return path


@contextmanager
def full_disk_after(size_bytes: int) -> Iterator[None]:
    """Let the system refuse to make any file longer than `size_bytes`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
