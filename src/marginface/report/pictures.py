"""Small pictures: contact sheets, and the form in which a page carries them."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

_GAP_PX = 4
_LABEL_PX = 14
_PAPER = 255


def contact_sheet(
    images: Sequence[Picture], columns: int, labels: Sequence[str] | None = None
) -> Picture:
    """Lay pictures out in rows, left to right, each with an optional label below.

    Args:
        images: RGB (height, width, 3) or grey (height, width), any sizes; each is centred in a cell
            as large as the largest.
        columns: Pictures per row, at least 1.
        labels: One per picture, plain ASCII; what is too long for the cell is cut.

    Returns:
        One RGB picture on white, (height, width, 3).

    Raises:
        ValueError: If there are no pictures, a shape is another, or the labels are not as many.
    """
    if not images:
        raise ValueError("images must hold at least one picture, got none")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"labels must be {len(images)}, one per picture, got {len(labels)}")
    pictures = [_as_rgb(image, position) for position, image in enumerate(images)]
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    step_y = height + _GAP_PX + (_LABEL_PX if labels is not None else 0)
    step_x = width + _GAP_PX
    shape = (rows * step_y + _GAP_PX, columns * step_x + _GAP_PX, 3)
    sheet = np.full(shape, _PAPER, np.uint8)
    for position, picture in enumerate(pictures):
        row, column = divmod(position, columns)
        top = _GAP_PX + row * step_y
        left = _GAP_PX + column * step_x
        y = top + (height - picture.shape[0]) // 2
        x = left + (width - picture.shape[1]) // 2
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
        if labels is not None:
            cell = sheet[top + height : top + height + _LABEL_PX, left : left + width]
            cell[:] = _label(labels[position], width)
    return sheet


def encode_picture(image: Picture) -> str:
    """Return a picture as PNG in base64, as `first_picture` and `second_picture` of a record hold.

    Args:
        image: RGB (height, width, 3) or grey (height, width).
    """
    is_done, png = cv2.imencode(".png", _as_rgb(image, 0)[:, :, ::-1])
    if not is_done:
        raise ValueError(f"image of shape {image.shape} could not be written as PNG")
    return base64.b64encode(png.tobytes()).decode()


def picture_uri(encoded: str) -> str:
    """Return the data URI of a PNG in base64; a data URI is returned as it is."""
    return encoded if encoded.startswith("data:image/") else f"data:image/png;base64,{encoded}"


def _as_rgb(image: Picture, position: int) -> Picture:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"images[{position}] must be uint8 of shape (height, width, 3) or (height, width), "
            f"got {image.dtype} {image.shape}"
        )
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def _label(text: str, width: int) -> Picture:
    strip = np.full((_LABEL_PX, width, 3), _PAPER, np.uint8)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.35
    while text and cv2.getTextSize(text, font, size, 1)[0][0] > width:
        text = text[:-1]
    cv2.putText(strip, text, (0, _LABEL_PX - 4), font, size, (60, 60, 60), 1, cv2.LINE_AA)
    return strip
