"""The worst errors of a model as face pairs, small enough to stand in a page."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.data import ImageSource, PairList, resolve_pairs
from marginface.evaluation import worst_errors
from marginface.report import encode_picture

SIDE_PX = 96


def worst_pairs(
    source: ImageSource, pairs: PairList, scores: NDArray[np.float64], *, count: int = 12
) -> list[dict[str, Any]]:
    """Return the least alike mated pairs and the most alike non-mated ones, with their pictures.

    Args:
        source: Where the pictures are.
        pairs: Which pictures the pairs are of.
        scores: Of the pairs, shape (pairs,); -inf where a face was not acquired.
        count: Pairs in all.
    """
    left_out = [name for name, *_ in source.left_out]
    first, second = resolve_pairs(pairs, source.names, left_out=left_out)
    return [
        {
            "first": source.names[first[pair]],
            "second": source.names[second[pair]],
            "score": float(scores[pair]),
            "is_mated": bool(pairs.is_mated[pair]),
            "first_picture": _shrunk(source, int(first[pair])),
            "second_picture": _shrunk(source, int(second[pair])),
        }
        for pair in worst_errors(scores, pairs.is_mated, count=count)
    ]


def _shrunk(source: ImageSource, index: int) -> str:
    picture = source.read([index])[0]
    height, width = picture.shape[:2]
    ratio = SIDE_PX / max(height, width)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    filtered = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    return encode_picture(np.asarray(cv2.resize(picture, size, interpolation=filtered), np.uint8))
