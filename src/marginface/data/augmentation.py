"""Changes to training pictures: mirror, AdaFace's three, jitter of the alignment, erasing.

Every picture takes one row of uniform random numbers, always the same number of them, so what
happens to one picture depends on nothing but its row.

Source: Kim, Jain, Liu, "AdaFace", CVPR 2022, arXiv:2204.00964, section 4.1: crop, low resolution
    and photometric change, each with probability 0.2.
Differs: the three photometric factors are applied in one affine map of the colours, clipped once at
    the end and not after each; interpolation is chosen between area and linear going down, and
    linear and cubic coming up.
"""

import math
from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Row = NDArray[np.float64]
Rows = NDArray[np.float64]

LUMA = np.array([0.299, 0.587, 0.114])
_COLUMNS = 24


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to a training picture.

    Args:
        flip: Mirror half of the pictures.
        crop: Probability of keeping a random part, 20 to 100 % of the area, in its place, the rest
            black.
        low_resolution: Probability of shrinking to 20 to 100 % of the side and enlarging again.
        photometric: Probability of scaling brightness, contrast and saturation by 0.5 to 1.5 each.
        shift: Largest shift in both directions, as a share of the side; every picture is shifted.
        zoom: Largest change of size, as a share: 0.1 is 0.9 to 1.1.
        turn_rad: Largest rotation, in radians.
        erase: Probability of filling a random box, 2 to 20 % of the area, with grey.

    Raises:
        ValueError: If a number lies outside its range.

    Example:
        >>> Augmentation.adaface().crop
        0.2
    """

    flip: bool = True
    crop: float = 0.0
    low_resolution: float = 0.0
    photometric: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    turn_rad: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        highest = {"shift": 0.5, "zoom": 0.5, "turn_rad": math.pi}
        for item in fields(self)[1:]:
            limit, value = highest.get(item.name, 1.0), getattr(self, item.name)
            if not 0 <= value <= limit:
                raise ValueError(f"{item.name} must lie in [0, {limit:.4g}], got {value}")

    @classmethod
    def adaface(cls) -> "Augmentation":
        """Return the set of the AdaFace paper: mirror, and the three with probability 0.2."""
        return cls(crop=0.2, low_resolution=0.2, photometric=0.2)

    def apply(self, images: Image, generator: np.random.Generator) -> Image:
        """Return changed copies of `images`; the arguments stay as they are.

        Args:
            images: uint8 RGB, shape (n, height, width, 3).
            generator: Gives n rows of numbers, the first to the first picture, and so on.
        """
        return self.change(images, self.draw(len(images), generator))

    @staticmethod
    def draw(count: int, generator: np.random.Generator) -> Rows:
        """Return the random numbers of `count` pictures, one row each."""
        return generator.random((count, _COLUMNS))

    def change(self, images: Image, rows: Rows) -> Image:
        """Return changed copies of `images`, each as its own row of `draw` says."""
        changed = images.copy()
        if self.flip:
            # Five times faster than one assignment with a mask and a negative stride.
            for place in np.flatnonzero(rows[:, 0] < 0.5).tolist():
                changed[place] = cv2.flip(images[place], 1)
        moves = self.shift > 0 or self.zoom > 0 or self.turn_rad > 0
        for place, row in enumerate(rows):
            if moves:
                changed[place] = self._moved(changed[place], row[1:5])
            if row[5] < self.crop:
                changed[place] = _cropped(changed[place], row[6:10])
            if row[10] < self.low_resolution:
                changed[place] = _coarsened(changed[place], row[11:14])
            if row[14] < self.photometric:
                changed[place] = _recoloured(changed[place], row[15:18])
            if row[18] < self.erase:
                changed[place] = _erased(changed[place], row[19:23])
        return changed

    def _moved(self, image: Image, row: Row) -> Image:
        height, width = image.shape[:2]
        centre = ((width - 1) / 2, (height - 1) / 2)
        right, down, zoom, turn = 2 * row - 1
        degrees = math.degrees(turn * self.turn_rad)
        matrix = cv2.getRotationMatrix2D(centre, degrees, 1 + zoom * self.zoom)
        matrix[:, 2] += right * self.shift * width, down * self.shift * height
        # A black edge would tell the network nothing that a mirrored one does not, but costs faces.
        return _image(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT))


def _box(shape: tuple[int, ...], row: Row, areas: tuple[float, float]) -> tuple[slice, slice]:
    """Return a random box of 3:4 to 4:3 whose share of the area lies between `areas`."""
    height, width = shape[:2]
    area = (areas[0] + row[0] * (areas[1] - areas[0])) * height * width
    ratio = math.exp((2 * row[1] - 1) * math.log(4 / 3))
    tall = min(height, max(1, round(math.sqrt(area / ratio))))
    wide = min(width, max(1, round(math.sqrt(area * ratio))))
    top, left = int(row[2] * (height - tall + 1)), int(row[3] * (width - wide + 1))
    return slice(top, top + tall), slice(left, left + wide)


def _cropped(image: Image, row: Row) -> Image:
    box = _box(image.shape, row, (0.2, 1.0))
    kept = np.zeros_like(image)
    kept[box] = image[box]
    return kept


def _erased(image: Image, row: Row) -> Image:
    erased = image.copy()
    erased[_box(image.shape, row, (0.02, 0.2))] = 128
    return erased


def _coarsened(image: Image, row: Row) -> Image:
    height, width = image.shape[:2]
    share = 0.2 + 0.8 * row[0]
    small = (max(1, round(width * share)), max(1, round(height * share)))
    down = cv2.INTER_AREA if row[1] < 0.5 else cv2.INTER_LINEAR
    up = cv2.INTER_LINEAR if row[2] < 0.5 else cv2.INTER_CUBIC
    reduced = cv2.resize(image, small, interpolation=down)
    return _image(cv2.resize(reduced, (width, height), interpolation=up))


def _recoloured(image: Image, row: Row) -> Image:
    brightness, contrast, saturation = 0.5 + row
    mean_grey = float(np.asarray(cv2.mean(image)[:3]) @ LUMA)
    matrix = np.empty((3, 4))
    # colour -> b·colour -> c·that + (1-c)·b·mean -> s·that + (1-s)·grey of that
    matrix[:, :3] = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * LUMA)
    matrix[:, 3] = (1 - contrast) * brightness * mean_grey
    return _image(cv2.transform(image, matrix))


def _image(changed: object) -> Image:
    return np.asarray(changed, dtype=np.uint8)
