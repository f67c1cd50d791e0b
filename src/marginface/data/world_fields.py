"""The canonical grid of the procedural world, and the smooth shapes heads are made of.

The canonical maps share their pixels with the 112×112 aligned crop, with a margin of a quarter on
every side, so that what a turned head shows beyond the crop is there. Coordinates are in pixels of
the crop at 112, whatever the size of the maps.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.rendering import Camera

Field = NDArray[np.float32]

TEMPLATE_SIZE = 112
EAR_PLANE = -40.0
FAR_PLANE = -76.0
PIVOT_HEIGHT = -20.0


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Coordinates of the canonical maps in template pixels: a row x (1, n), a column y (n, 1)."""

    x: Field
    y: Field
    camera: Camera
    target: Camera

    @property
    def pixel(self) -> float:
        """Return the pitch of the maps in template pixels."""
        return float(self.x[0, 1] - self.x[0, 0])

    def bump(self, x: float, y: float, wide: float, high: float) -> Field:
        """Return a Gaussian of height 1."""
        return gauss((self.x - x) / wide) * gauss((self.y - y) / high)

    def pair(self, x: float, y: float, wide: float, high: float) -> Field:
        """Return the Gaussian and its mirror image."""
        row = gauss((np.abs(self.x) - x) / wide)
        return row * gauss((self.y - y) / high)

    def window(self, x: float, y: float, wide: float, high: float) -> tuple[slice, slice]:
        """Return the rows and columns of a box, for work on a small part."""
        columns = np.flatnonzero(np.abs(self.x[0] - x) <= wide)
        rows = np.flatnonzero(np.abs(self.y[:, 0] - y) <= high)
        return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)

    def to_depth(self, height: Field) -> Field:
        """Turn heights in template pixels into depths of the camera."""
        return (1 - (height - PIVOT_HEIGHT) / Camera(TEMPLATE_SIZE).focal_px).astype(np.float32)


@lru_cache(maxsize=8)
def make_grid(size: int) -> Grid:
    """Return the canonical grid of crops of `size` pixels."""
    target = Camera(size)
    camera = target.widened(round(size / 4))
    steps = np.arange(camera.size) - camera.centre_px
    steps = (steps / camera.focal_px * Camera(TEMPLATE_SIZE).focal_px).astype(np.float32)
    return Grid(steps[None, :].copy(), steps[:, None].copy(), camera, target)


def gauss(offset: NDArray[Any]) -> Field:
    """Return exp(-offset²/2)."""
    return np.exp(-0.5 * np.square(offset, dtype=np.float32))


def step(start: float | NDArray[Any], stop: float | NDArray[Any], value: NDArray[Any]) -> Field:
    """Return the smooth step from 0 at `start` to 1 at `stop`, falling if `stop` is the smaller."""
    t = np.clip((value - start) / (stop - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def smooth_max(a: Field, b: Field, softness: float) -> Field:
    """Return the larger of two fields, rounded where they are within `softness`."""
    h = np.clip(softness - np.abs(a - b), 0, None)
    return np.maximum(a, b) + h * h / (4 * softness)


def smooth_curve(at: Field, knots: list[tuple[float, float]]) -> Field:
    """Return a smooth curve through the knots: linear between them, then averaged over 5 pixels."""
    places, values = zip(*knots, strict=True)
    offsets = np.linspace(-5, 5, 11)
    weights = np.cos(offsets / 6 * np.pi / 2) ** 2
    total = sum(
        weight * np.interp(at + offset, places, values)
        for weight, offset in zip(weights, offsets, strict=True)
    )
    return (total / weights.sum()).astype(np.float32)


def blur(field: Field, sigma: float, grid: Grid) -> Field:
    """Blur by `sigma` template pixels."""
    soft = cv2.GaussianBlur(field, (0, 0), sigma / grid.pixel, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(soft, dtype=np.float32)


def noise(generator: np.random.Generator, grid: Grid, wide: float, high: float) -> Field:
    """Return smooth noise of unit deviation with the given correlation lengths.

    The raw draws do not depend on the size of the maps, so a person keeps the same spots at any.
    """
    cells_x, cells_y = (max(2, round(168 / max(length, 1.0))) for length in (wide, high))
    coarse = generator.standard_normal((cells_y, cells_x), dtype=np.float32)
    size = (grid.camera.size, grid.camera.size)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.float32)


def mix(base: Field, colour: Field, weight: NDArray[Any]) -> Field:
    """Lay a colour (3,) or (h, w, 3) over a picture (h, w, 3) with a weight (h, w)."""
    return np.asarray(base + weight[..., None] * (colour - base), dtype=np.float32)
