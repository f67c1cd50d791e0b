"""What moves: eyes, lips and the jaw, drawn for each picture on the neutral head."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.data.world_anatomy import Person
from marginface.data.world_fields import Field, Grid, gauss, mix, step
from marginface.data.world_skin import lip_colour, skin_colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """What a face does in one picture.

    Args:
        smile: Corners of the mouth out and up; below 0 they sink.
        mouth_open: Gap between the lips, template pixels.
        brow_raise: Lift of the brows, template pixels.
        eye_open: Share of the person's own opening.
        gaze_x: Iris to the side, template pixels.
        gaze_y: Iris down, template pixels.
    """

    smile: float = 0.0
    mouth_open: float = 0.0
    brow_raise: float = 0.0
    eye_open: float = 1.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0


def move_head(person: Person, expression: Expression, maps: Field, grid: Grid) -> Field:
    """Carry the neutral maps (n, n, channels) along with jaw, cheeks and brows."""
    p, e = person, expression
    drop = 0.7 * e.mouth_open * step(p.mouth_y - 3, p.mouth_y + 9, grid.y)
    drop = drop * np.exp(-0.5 * (grid.x / 34) ** 4)
    lift = e.brow_raise * grid.pair(17, p.eye_y - p.brow_gap, 14, 5.5)
    cheeks = 1.6 * max(e.smile, 0) * grid.pair(21, 20, 9, 9)
    shift_y = (-drop + lift + cheeks) / grid.pixel
    wider = 1.5 * e.smile * grid.bump(0, p.mouth_y - 4, 24, 9) * np.tanh(grid.x / 14)
    rows, columns = np.indices(shift_y.shape, dtype=np.float32)
    at_x = (columns - wider / grid.pixel).astype(np.float32)
    at_y = (rows + shift_y).astype(np.float32)
    moved = cv2.remap(maps, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, dtype=np.float32)


def draw_features(
    person: Person, expression: Expression, height: Field, albedo: Field, grid: Grid
) -> None:
    """Draw eyes and mouth into the maps, in place."""
    height += _smiling_cheeks(person, expression, grid)
    for side in (-1.0, 1.0):
        _draw_eye(person, expression, side, height, albedo, grid)
    _draw_mouth(person, expression, height, albedo, grid)


def mouth_corner(person: Person, expression: Expression) -> tuple[float, float]:
    """Return the right corner of the mouth in the picture, template pixels."""
    x = person.mouth_width + 1.6 * expression.smile - 0.25 * expression.mouth_open
    return x, person.mouth_y + person.lip_tilt - 1.9 * expression.smile


def _smiling_cheeks(p: Person, e: Expression, grid: Grid) -> Field:
    fold = np.abs(np.abs(grid.x) - (p.nose_wing + 4.5) - 0.5 * (grid.y - p.nose_y))
    along = step(p.nose_y - 2, p.nose_y + 5, grid.y) * step(p.mouth_y + 6, p.mouth_y - 6, grid.y)
    crease = along * gauss(fold / 1.7)
    raised = 1.8 * grid.pair(22, 15, 8, 7) - 1.5 * crease
    return np.float32(max(e.smile, 0)) * raised


def _draw_eye(
    p: Person, e: Expression, side: float, height: Field, albedo: Field, grid: Grid
) -> None:
    rows, columns = grid.window(side * p.eye_x, p.eye_y, p.eye_width + 6, 11)
    x0, y0 = side * (grid.x[:, columns] - side * p.eye_x), grid.y[rows] - p.eye_y
    # The outer corner rises with the slant; x grows outwards on both sides.
    x, y = x0 - p.eye_slant * y0, y0 + p.eye_slant * x0
    t = x / p.eye_width
    arc = np.sqrt(np.clip(1 - t * t, 0, None))
    lid = -0.60 * p.eye_open * e.eye_open * arc * (1 - 0.12 * t) + 0.8 * (1 - e.eye_open) * arc
    low = 0.40 * p.eye_open * arc**1.5 * (1 - 0.25 * max(e.smile, 0))
    opening = step(-0.5, 0.5, np.minimum(y - lid, low - y)) * step(1.04, 0.94, np.abs(t))
    colours = albedo[rows, columns]
    skin = skin_colour(p)
    crease = gauss((y - lid + p.eye_fold) / 0.75) * step(1.2, 0.75, np.abs(t))
    lash = gauss((y - lid) / (0.62 + 0.2 * t)) * step(1.1, 0.98, np.abs(t))
    lower = gauss((y - low - 0.3) / 0.5) * step(1.05, 0.8, np.abs(t))
    colours = mix(colours, skin * np.float32(0.42), 0.55 * crease)
    colours = mix(colours, _eyeball(p, e, side, x, y, lid), opening)
    colours = mix(colours, skin * np.float32(0.10) + np.float32(0.01), 0.85 * lash)
    albedo[rows, columns] = mix(colours, skin * np.float32(0.35), 0.45 * lower)
    ball = np.sqrt(np.clip(1 - (x / (p.eye_width + 2.5)) ** 2 - (y / 7.5) ** 2, 0, None))
    height[rows, columns] += 3.4 * ball - 0.7 * opening - 0.5 * crease


def _eyeball(p: Person, e: Expression, side: float, x: Field, y: Field, lid: NDArray[Any]) -> Field:
    radius = np.hypot(x - side * e.gaze_x, y - e.gaze_y + 0.45)
    white = np.array([0.80, 0.77, 0.74], dtype=np.float32)
    shade = 1 - 0.45 * gauss((y - lid) / 1.3) - 0.22 * (x / p.eye_width) ** 2
    ball = white * np.clip(shade, 0.2, 1)[..., None]
    brown = np.array([0.30, 0.17, 0.08], dtype=np.float32)
    pale = np.array([0.33, 0.46, 0.58], dtype=np.float32)
    green = np.array([0.36, 0.44, 0.27], dtype=np.float32)
    hue, pigment = np.float32(np.clip(p.iris_hue, 0, 1)), np.float32(np.clip(p.iris_pigment, 0, 1))
    iris = (pale + hue * (green - pale)) * (1 - pigment) + brown * pigment * (1.25 - 0.5 * pigment)
    size = p.iris_size
    ball = mix(ball, iris * np.float32(0.55), step(size + 0.4, size - 0.4, radius))
    ball = mix(ball, iris, step(size - 0.5, size - 1.3, radius))
    ball = mix(ball, np.full(3, 0.02, np.float32), step(1.75, 1.15, radius))
    glint = np.exp(-0.5 * ((x - side * e.gaze_x - side * 1.0) ** 2 + (y + 1.6) ** 2) / 0.55**2)
    return mix(ball, np.full(3, 0.95, np.float32), 0.9 * glint)


def _draw_mouth(p: Person, e: Expression, height: Field, albedo: Field, grid: Grid) -> None:
    reach_x, corner_y = mouth_corner(p, e)
    rows, columns = grid.window(0, p.mouth_y + 3, reach_x + 6, 15 + e.mouth_open)
    x, y = grid.x[:, columns], grid.y[rows]
    t = x / reach_x
    arc = np.clip(1 - t * t, 0, None)
    line = p.mouth_y + (corner_y - p.mouth_y) * t * t + 0.35 * np.cos(np.clip(3 * t, -4, 4))
    upper_edge = line - 0.30 * e.mouth_open * arc
    lower_edge = line + 0.70 * e.mouth_open * arc
    thin = 1 - 0.16 * max(e.smile, 0)
    bow = p.lip_bow * gauss(x / 2.0)
    top = upper_edge - max(p.lip_upper, 1.0) * thin * arc**0.75 + bow * (arc > 0)
    bottom = lower_edge + max(p.lip_lower, 1.4) * thin * arc**0.85
    inside = step(1.02, 0.95, np.abs(t))
    upper = step(-0.5, 0.5, np.minimum(y - top, upper_edge - y)) * inside
    lower = step(-0.5, 0.5, np.minimum(y - lower_edge, bottom - y)) * inside
    gap = step(-0.5, 0.5, np.minimum(y - upper_edge, lower_edge - y)) * inside
    gap = gap * min(1.0, e.mouth_open / 0.8)
    lips = lip_colour(p)
    colours = mix(albedo[rows, columns], lips * np.float32(0.90), 0.88 * upper)
    colours = mix(colours, lips, 0.88 * lower)
    colours = mix(colours, _mouth_inside(e, y, upper_edge, t), gap)
    seam = gauss(np.minimum(np.abs(y - upper_edge), np.abs(y - lower_edge)) / 0.55)
    seam = seam * step(1.10, 0.92, np.abs(t))
    albedo[rows, columns] = mix(colours, lips * np.float32(0.25), 0.75 * seam)
    swell_u = gauss((y - upper_edge + 0.5 * p.lip_upper) / (0.5 * p.lip_upper + 0.6))
    swell_l = gauss((y - lower_edge - 0.5 * p.lip_lower) / (0.5 * p.lip_lower + 0.6))
    forward = max(p.lip_forward, 0.5) * arc**0.6
    height[rows, columns] += forward * (0.8 * swell_u + swell_l) - 1.2 * seam - 3.0 * gap


def _mouth_inside(e: Expression, y: Field, upper_edge: Field, t: Field) -> Field:
    dark = np.array([0.16, 0.05, 0.045], dtype=np.float32)
    depth = y - upper_edge
    teeth = step(-0.6, 0.3, depth) * step(3.4, 2.6, depth) * step(0.85, 0.6, np.abs(t))
    teeth = teeth * min(1.0, max(e.mouth_open - 0.8, 0.0))
    base = np.broadcast_to(dark, (*depth.shape, 3))
    return mix(base, np.array([0.80, 0.76, 0.68], dtype=np.float32), 0.9 * teeth)
