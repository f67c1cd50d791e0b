"""From stored pictures to the float batch a network takes, with little traffic of memory."""

import numpy as np
import torch
from numpy.typing import NDArray

from marginface.axes import Float, Tensor
from marginface.data.encoded_faces import EncodedFaces

# Eight pictures of 112 pixels are 0.3 MB as bytes and 1.2 MB as floats: no second copy of a batch.
_CHUNK = 8


def read_floats(
    faces: EncodedFaces,
    indices: NDArray[np.int64],
    *,
    is_mirrored: NDArray[np.bool_] | None = None,
    out: Float[Tensor, "room height width 3"] | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Read, decode, mirror and normalise a batch; the values are those of `to_float`.

    The pictures lie channels last in memory, as they are decoded, under the usual shape.

    Args:
        faces: The set; all pictures of one size.
        indices: Which.
        is_mirrored: Which of them to mirror left to right, shape (batch,).
        out: Memory for the batch, channels last, with room for `batch` pictures at least; the
            result is a view into it. Fresh memory costs a fault for every page.

    Raises:
        ValueError: If `out` is too small, or of another picture size.
        DataError: If one does not decode, or is of another size than the set's first.
    """
    height, width = faces.size
    if out is None:
        out = torch.empty(len(indices), height, width, 3)
    if len(out) < len(indices) or tuple(out.shape[1:]) != (height, width, 3):
        raise ValueError(
            f"out must have shape ({len(indices)} or more, {height}, {width}, 3), "
            f"got {tuple(out.shape)}"
        )
    batch = out[: len(indices)]
    for begin in range(0, len(indices), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        turned = None if is_mirrored is None else is_mirrored[part]
        images = faces.read(indices[part], is_mirrored=turned)
        faces.check_size(images, int(indices[begin]))
        # Copying first is three times as fast as letting the subtraction widen the bytes.
        batch[part].copy_(torch.from_numpy(images)).sub_(127.5).div_(127.5)
    return batch.permute(0, 3, 1, 2)
