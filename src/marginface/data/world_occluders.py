"""What hides a part of a face: things worn on the head, and a hand before the camera."""

import math

import numpy as np

from marginface.data.world_anatomy import Person
from marginface.data.world_conditions import Conditions
from marginface.data.world_fields import Field, Grid, gauss, mix, step


def wear(
    person: Person,
    conditions: Conditions,
    height: Field,
    albedo: Field,
    grid: Grid,
    generator: np.random.Generator,
) -> tuple[Field, Field, Field]:
    """Put on what the conditions name.

    Returns:
        Height, albedo, and the share of each canonical pixel that is hidden.
    """
    place = conditions.occlusion_place
    match conditions.occlusion:
        case "glasses":
            return _glasses(person, height, albedo, grid, place, opacity=0.06)
        case "sunglasses":
            return _glasses(person, height, albedo, grid, place, opacity=0.93)
        case "scarf":
            return _scarf(person, height, albedo, grid, place, generator)
        case "strand":
            return _strand(person, height, albedo, grid, place)
        case _:
            return height, albedo, np.zeros_like(height)


def _glasses(
    p: Person,
    height: Field,
    albedo: Field,
    grid: Grid,
    place: tuple[float, float, float],
    *,
    opacity: float,
) -> tuple[Field, Field, Field]:
    power = 2.2 + 2.6 * float(np.clip(1 - p.glasses_round, 0, 1))
    wide, high = 12.6 + 0.8 * place[0], 8.6 + 1.2 * (p.glasses_round - 0.5) + 0.6 * place[1]
    x = (np.abs(grid.x) - p.eye_x - 0.4) / wide
    y = (grid.y - p.eye_y - 1.6) / high
    radius = (np.abs(x) ** power + np.abs(y) ** power) ** (1 / power)
    rim_width = 0.055 + 0.03 * float(np.clip(p.glasses_dark, 0, 1))
    rim = step(2.2 * rim_width, 0.8 * rim_width, np.abs(radius - 1))
    bridge = gauss((grid.y - p.eye_y + 1.5) / 0.9) * (np.abs(grid.x) < p.eye_x - wide)
    arms = gauss((grid.y - p.eye_y + 1.5) / 1.0) * (np.abs(grid.x) > p.eye_x + wide)
    frame = np.clip(np.maximum(rim, np.maximum(bridge, arms)), 0, 1)
    lens = step(1.02, 0.96, radius) * np.float32(opacity)
    dark = np.float32(0.02 + 0.30 * (1 - np.clip(p.glasses_dark, 0, 1)))
    tint = np.array([1.0, 0.8 + 0.2 * place[2], 0.7], dtype=np.float32) * dark
    albedo = mix(albedo, np.array([0.025, 0.027, 0.03], np.float32), lens)
    albedo = mix(albedo, tint, 0.95 * frame)
    hidden = np.maximum(lens, frame)
    return (height + 1.5 * frame).astype(np.float32), albedo, hidden.astype(np.float32)


def _scarf(
    p: Person,
    height: Field,
    albedo: Field,
    grid: Grid,
    place: tuple[float, float, float],
    generator: np.random.Generator,
) -> tuple[Field, Field, Field]:
    colour, stripe = generator.uniform(0.05, 0.8, (2, 3)).astype(np.float32)
    top = p.mouth_y - 12 + 7 * place[0] + 0.005 * grid.x**2 * (1 + place[1])
    folds = np.sin(grid.y / (2.2 + place[2]) + 0.02 * grid.x**2)
    cover = step(-1.0, 1.0, grid.y - top)
    cloth = mix(np.broadcast_to(colour, albedo.shape), stripe, step(0.2, 0.8, folds))
    raised = np.maximum(height, height * 0.65 + 5.5) + 0.5 * folds
    height = height + cover * (raised - height) * (height > -60)
    return height.astype(np.float32), mix(albedo, cloth, cover), cover.astype(np.float32)


def _strand(
    p: Person, height: Field, albedo: Field, grid: Grid, place: tuple[float, float, float]
) -> tuple[Field, Field, Field]:
    # A lock falls from the hairline over one eye, in the colour of the hair above it.
    start_x = 9 * place[0]
    end_x = math.copysign(20 + 8 * abs(place[1]), place[1])
    along = np.clip((grid.y + 44) / (58 + 12 * place[2]), 0, 1)
    middle = start_x + (end_x - start_x) * along**0.8
    width = 8.0 - 4.5 * along
    wisps = 0.8 + 0.2 * np.cos((grid.x - middle) * 2.4)
    cover = step(1.0, 0.7, np.abs(grid.x - middle) / width) * wisps
    cover = cover * step(1.0, 0.94, along) * step(-48, -44, grid.y)
    rows = np.abs(grid.y[:, 0] + 52).argmin()
    colour = albedo[rows, albedo.shape[1] // 2]
    hidden = (0.95 * cover).astype(np.float32)
    return (height + 2.5 * cover).astype(np.float32), mix(albedo, colour, hidden), hidden


def hand_cover(conditions: Conditions, size: int) -> Field:
    """Return where a hand, out of the head's frame, hides the picture, (size, size)."""
    steps = (np.arange(size, dtype=np.float32) - (size - 1) / 2) * np.float32(112 / size)
    x, y = steps[None], steps[:, None]
    side, low, turn = conditions.occlusion_place
    centre_x, centre_y = math.copysign(30 + 9 * abs(side), side), 24 + 18 * low
    angle = 0.5 * turn - math.copysign(0.5, side)
    cosine, sine = math.cos(angle), math.sin(angle)
    along = cosine * (y - centre_y) + sine * (x - centre_x)
    across = cosine * (x - centre_x) - sine * (y - centre_y)
    palm = np.hypot(across / 17, (along - 12) / 20)
    cover = step(1.03, 0.97, palm)
    for finger in range(4):
        axis = (finger - 1.5) * 8.6
        tip = np.hypot(across - axis, np.clip(np.abs(along + 10) - 16, 0, None))
        cover = np.maximum(cover, step(4.4, 3.7, tip))
    return cover.astype(np.float32)
