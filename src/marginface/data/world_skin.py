"""The colours of a head: skin, hair, brows and beard as one albedo map.

Colours are linear reflectances in [0, 1]. Skin is light skin seen through two filters, pigment and
blood; hair is one pigment and grey; both are continuous.
"""

import numpy as np

from marginface.data.world_anatomy import Person
from marginface.data.world_fields import Field, Grid, gauss, mix, noise, step
from marginface.data.world_head import HeadShape

WHITE_SKIN = np.array([0.90, 0.735, 0.65], dtype=np.float32)
PIGMENT = np.array([0.58, 0.82, 1.00], dtype=np.float32)
BLOOD = np.array([0.25, 1.35, 1.15], dtype=np.float32)
YELLOW = np.array([0.0, 0.35, 1.6], dtype=np.float32)
WHITE_HAIR = np.array([0.82, 0.68, 0.47], dtype=np.float32)
HAIR_PIGMENT = np.array([0.95, 1.25, 1.5], dtype=np.float32)
HAIR_RED = np.array([0.15, 0.85, 1.3], dtype=np.float32)


def skin_colour(person: Person) -> Field:
    """Return the mean reflectance of the skin, (3,)."""
    pigment = 0.45 * np.log1p(np.exp(3.0 * person.skin_pigment)) / 1.5
    filters = PIGMENT * pigment + BLOOD * max(person.skin_red, 0) + YELLOW * person.skin_yellow
    return (WHITE_SKIN * np.exp(-filters)).astype(np.float32)


def hair_colour(person: Person) -> Field:
    """Return the mean reflectance of the hair, (3,)."""
    pigment = HAIR_PIGMENT * max(person.hair_pigment, 0.05) + HAIR_RED * max(person.hair_red, 0)
    colour = WHITE_HAIR * np.exp(-pigment) + 0.015
    grey = np.float32(np.clip(person.hair_grey, 0, 0.9))
    return (colour + grey * (0.62 - colour)).astype(np.float32)


def lip_colour(person: Person) -> Field:
    """Return the mean reflectance of the lips, (3,)."""
    skin = skin_colour(person)
    red = np.array([0.05, 0.62, 0.42], dtype=np.float32) * np.float32(max(person.lip_red, 0.1))
    return (skin * np.exp(-red - np.float32(max(person.lip_dark, 0)))).astype(np.float32)


def paint_head(
    person: Person, shape: HeadShape, grid: Grid, generator: np.random.Generator
) -> Field:
    """Return the albedo (n, n, 3) of the neutral head, eyes and lips left to the picture."""
    skin = _skin(person, grid, generator)
    skin = mix(skin, skin_colour(person) * np.float32(0.8), 0.35 * shape.ear)
    skin = _beard(person, skin, grid, generator)
    skin = _brows(person, skin, grid, generator)
    hair = _hair(person, grid, generator)
    return np.clip(mix(skin, hair, shape.hair), 0.01, 0.97).astype(np.float32)


def _skin(person: Person, grid: Grid, generator: np.random.Generator) -> Field:
    p = person
    size = grid.camera.size
    mottled = 0.022 * noise(generator, grid, 7, 7) + 0.016 * noise(generator, grid, 1.6, 1.6)
    red = 0.13 * grid.pair(22, 14, 9, 8) + 0.10 * grid.bump(0, p.nose_y + 1, 7, 6)
    red += 0.06 * grid.pair(p.eye_x, p.eye_y + 1, 10, 5) + 0.05 * grid.bump(0, p.chin_y - 6, 9, 6)
    dark = 0.10 * max(p.eye_bag, 0) * 2.2 * grid.pair(p.eye_x - 1.5, p.eye_y + 5.2, 7, 2.0)
    dark += 0.14 * grid.pair(p.eye_x, p.eye_y - 3, 9, 4.0)
    lines = _lines(p, grid) * max(p.skin_age, 0)
    skin = np.broadcast_to(skin_colour(p), (size, size, 3))
    filters = red[..., None] * BLOOD * 0.9 + (dark + lines + mottled)[..., None]
    skin = skin * np.exp(-filters)
    skin = _freckles(p, skin, grid, generator)
    nostrils = 0.8 * grid.pair(p.nose_wing * 0.5, p.nose_y + 4.4, 1.7, 0.9)
    return mix(skin, skin_colour(p) * np.float32(0.22), nostrils)


def _lines(p: Person, grid: Grid) -> Field:
    waves = np.zeros_like(grid.x * grid.y)
    for k in range(3):
        y = p.eye_y - p.brow_gap - 8.5 - 5.5 * k
        waves = waves + gauss((grid.y - y - 0.0012 * grid.x**2) / 0.7)
    forehead = 0.10 * waves * np.exp(-0.5 * (grid.x / 17) ** 4)
    frown = 0.16 * grid.pair(3.0, p.eye_y - p.brow_gap + 2, 0.7, 3.2)
    feet = np.abs(grid.x) - p.eye_x - p.eye_width - 3
    crow = 0.14 * gauss(feet / 2.2) * np.cos((grid.y - p.eye_y) * 1.6) ** 8
    return forehead + frown + crow * gauss((grid.y - p.eye_y) / 3.5)


def _freckles(p: Person, skin: Field, grid: Grid, generator: np.random.Generator) -> Field:
    spots = noise(generator, grid, 2.0, 2.0)
    where = grid.bump(0, 10, 26, 13)
    freckled = np.clip(max(p.freckles, 0) * where * step(0.7, 1.6, spots), 0, 0.5)
    skin = mix(skin, skin_colour(p) * np.float32(0.45), freckled)
    count = max(0, int(generator.integers(-2, 4)))
    places = generator.uniform([-30, -28, 0.55], [30, 52, 1.0], size=(6, 3))
    for x, y, radius in places[:count].tolist():
        spot = np.clip(1.3 * grid.bump(x, y, radius, radius), 0, 0.8)
        skin = mix(skin, skin_colour(p) * np.float32(0.25), spot)
    return skin


def _beard(p: Person, skin: Field, grid: Grid, generator: np.random.Generator) -> Field:
    texture = noise(generator, grid, 1.2, 2.6)
    edge = p.beard_line - 12 * step(18, 34, np.abs(grid.x)) + 1.2 * texture
    region = step(-2.5, 3.5, grid.y - edge) * step(p.chin_y + 16, p.chin_y + 4, grid.y)
    around_lips = grid.bump(0, p.mouth_y + 0.5, p.mouth_width * 0.85, 5.2)
    region = region * (1 - np.clip(1.4 * around_lips, 0, 1))
    upper = step(p.nose_y + 6, p.nose_y + 10, grid.y) * step(p.mouth_y - 0.5, p.mouth_y - 3, grid.y)
    upper = upper * step(p.mouth_width + 3, p.mouth_width - 2, np.abs(grid.x))
    beard = min(max(p.beard, 0.0), 0.9)
    moustache = min(max(p.moustache, beard), 0.9)
    weight = np.maximum(beard * region, moustache * upper) * (0.8 + 0.22 * texture)
    return mix(skin, hair_colour(p) * np.float32(0.8), np.clip(weight, 0, 0.92))


def _brows(p: Person, skin: Field, grid: Grid, generator: np.random.Generator) -> Field:
    texture = noise(generator, grid, 1.6, 1.0)
    t = (np.abs(grid.x) - p.brow_inner) / p.brow_length
    y = p.eye_y - p.brow_gap + 1.6 - p.brow_arch * (1 - ((t - 0.62) / 0.62) ** 2)
    y = y - p.brow_tilt * (np.abs(grid.x) - p.eye_x)
    thick = max(p.brow_thick, 0.6) * (1.15 - 0.65 * np.clip(t, 0, 1) ** 1.5)
    across = np.exp(-0.5 * (np.abs(grid.y - y) / thick) ** 2.6)
    weight = across * step(-0.10, 0.12, t) * step(1.06, 0.82, t) * (0.9 + 0.14 * texture)
    dark = hair_colour(p) * np.float32(0.55)
    return mix(skin, dark, np.clip(weight * p.brow_dark, 0, 0.95))


def _hair(p: Person, grid: Grid, generator: np.random.Generator) -> Field:
    long, fine = noise(generator, grid, 1.8, 18), noise(generator, grid, 1.2, 5)
    curl = noise(generator, grid, 4, 5)
    wavy = (1 - p.hair_curl) * long + p.hair_curl * curl
    return hair_colour(p) * np.exp(0.24 * wavy + 0.12 * fine)[..., None]
