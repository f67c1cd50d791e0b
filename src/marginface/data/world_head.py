"""The shape of a head: one height map from a person's numbers, eyes and mouth left smooth.

A cross-section of the skull at height y is a superellipse between the ears' plane and the profile
line. Nose, brow ridge, cheekbones, chin are bumps on it; neck, ears and hair are joined to it.
Beyond the outline the map falls like a wall to the far plane: the back of the head.
"""

from dataclasses import dataclass

import numpy as np

from marginface.data.world_anatomy import Person
from marginface.data.world_fields import (
    EAR_PLANE,
    FAR_PLANE,
    Field,
    Grid,
    blur,
    gauss,
    noise,
    smooth_curve,
    smooth_max,
    step,
)


@dataclass(frozen=True, slots=True, eq=False)
class HeadShape:
    """Height and coverages of a head, each (n, n).

    Args:
        height: Towards the camera, template pixels.
        hair: How much of a pixel is hair, 0 to 1.
        ear: How much is ear.
        alpha: Where there is anyone at all.
    """

    height: Field
    hair: Field
    ear: Field
    alpha: Field


def shape_head(person: Person, grid: Grid, generator: np.random.Generator) -> HeadShape:
    """Build the neutral head of a person."""
    skull = _skull(person, grid) + _bones(person, grid)
    skull = np.maximum(skull, FAR_PLANE)
    nose = _nose(person, grid)
    ear, ear_height = _ears(person, grid)
    height = smooth_max(skull + nose, _neck(person, grid), 4.0)
    height = smooth_max(height, ear_height, 2.0)
    hair, hair_height = _hair(person, grid, generator)
    covered = step(-1.0, 1.0, hair_height - height)
    height = blur(np.maximum(height, hair_height), 0.7, grid)
    alpha = step(FAR_PLANE + 4, FAR_PLANE + 12, height)
    # The colour reaches over the step at the hair's edge, which else catches the light as skin.
    hair = step(0.06, 0.55, blur(hair * covered, max(1.1, 1.1 * grid.pixel), grid))
    return HeadShape(height, hair, ear * (1 - hair), alpha)


def half_width(person: Person, y: Field, grow: float = 0.0) -> Field:
    """Return the half width of the skull at heights y."""
    top, chin = person.skull_top - grow, person.chin_y
    knots = [
        (top - 4, -8.0),
        (top + 2, 12.0),
        (top + 10, person.temple_width * 0.72),
        (top + 24, person.temple_width * 0.96),
        (-26.0, person.temple_width),
        (6.0, person.cheek_width),
        (24.0, 0.45 * person.cheek_width + 0.55 * person.jaw_width + 1.5),
        (38.0, person.jaw_width),
        (chin - 7, person.chin_width + 6),
        (chin - 1, person.chin_width),
        (chin + 4, 2.0),
        (chin + 8, -8.0),
    ]
    return smooth_curve(y, knots)


def _profile(person: Person, y: Field, grow: float = 0.0) -> Field:
    top, chin = person.skull_top - grow, person.chin_y
    brow = person.forehead_height
    knots = [
        (top - 4, EAR_PLANE),
        (top + 4, -20.0),
        (top + 15, -3.0 - person.forehead_slope),
        (top + 28, brow - 3 - person.forehead_slope * 0.6),
        (-22.0, brow),
        (-12.0, brow + 0.5),
        (-4.0, 9.5),
        (12.0, 11.0),
        (26.0, 12.5),
        (37.0, 14.0),
        (46.0, person.chin_forward - 2),
        (chin - 6, person.chin_forward),
        (chin, person.chin_forward - 5),
        (chin + 5, -8.0),
        (chin + 9, EAR_PLANE),
    ]
    return smooth_curve(y, knots)


def _dome(x: Field, width: Field, profile: Field, power: float) -> Field:
    # Inside, a superellipse; outside, a wall that falls 12 per pixel, the back of the head.
    safe = np.maximum(width, 1.0)
    ratio = np.abs(x) / safe
    inside = np.sqrt(np.clip(1 - ratio**power, 0, None))
    outside = np.clip(np.abs(x) - width, 0, None)
    return EAR_PLANE + (profile - EAR_PLANE) * inside - 12 * outside


def _skull(person: Person, grid: Grid) -> Field:
    width, profile = half_width(person, grid.y), _profile(person, grid.y)
    return _dome(grid.x, width, profile, person.roundness)


def _bones(person: Person, grid: Grid) -> Field:
    p = person
    brow_y = p.eye_y - p.brow_gap
    bones = p.brow_ridge * grid.pair(13.0, brow_y + 1.5, 9.0, 4.0)
    bones -= p.eye_depth * grid.pair(p.eye_x - 1, p.eye_y - 0.5, 8.5, 5.2)
    bones -= 2.2 * grid.pair(8.5, p.eye_y - 1, 3.2, 5.0)
    bones += p.cheekbone * grid.pair(24.0, p.cheekbone_y, 8.0, 6.5)
    bones += p.cheek_fullness * grid.pair(21.0, 27.0, 8.0, 9.0)
    bones += p.chin_ball * grid.bump(0, p.chin_y - 8, 7.5, 5.0)
    bones -= p.chin_cleft * grid.bump(0, p.chin_y - 7, 1.3, 4.0) * (p.chin_cleft > 0)
    bones -= 2.0 * grid.bump(0, p.mouth_y + 9.5, 9.0, 2.6)
    bones += 2.4 * grid.bump(0, p.mouth_y, 12.0, 7.0)
    bones -= 0.8 * grid.bump(0, p.mouth_y - 8, 1.6, 3.5)
    fold = np.abs(np.abs(grid.x) - (p.nose_wing + 3.5) - 0.42 * (grid.y - p.nose_y))
    along = step(p.nose_y - 2, p.nose_y + 6, grid.y) * step(p.mouth_y + 4, p.mouth_y - 6, grid.y)
    return bones - (0.5 + 1.1 * max(p.skin_age, 0)) * along * gauss(fold / 1.6)


def _nose(person: Person, grid: Grid) -> Field:
    p = person
    root, tip = p.eye_y - 3.0, p.nose_y
    along = np.clip((grid.y - root) / (tip - root), 0, 1.3)
    rise = p.nose_bridge + (p.nose_forward - p.nose_bridge) * along**1.25
    rise = rise + p.nose_hump * gauss((along - 0.45) / 0.2)
    breadth = p.nose_bridge_width + (p.nose_tip_width - p.nose_bridge_width) * along**2
    end = tip + 4.4 + p.nose_lift
    ends = step(root - 7, root + 3, grid.y) * step(end + 0.6, end - 6.5, grid.y)
    ridge = gauss(grid.x / breadth)
    slopes = gauss(grid.x / (breadth * 1.9))
    nose = rise * ends * (0.72 * ridge + 0.28 * slopes)
    nose += 2.2 * grid.bump(0, tip - 0.5, p.nose_tip_width * 0.9, 3.4)
    nose += p.nose_wing_height * grid.pair(p.nose_wing - 1.2, tip + 1.2, 2.9, 3.2)
    return nose - 1.8 * grid.pair(p.nose_wing * 0.48, tip + 5.0, 1.9, 1.2)


def _neck(person: Person, grid: Grid) -> Field:
    width = person.neck_width + 26 * step(66.0, 100.0, grid.y)
    neck = _dome(grid.x, width, np.full_like(grid.y, -14.0), 2.2)
    return np.where(grid.y > 30, neck, FAR_PLANE).astype(np.float32)


def _ears(person: Person, grid: Grid) -> tuple[Field, Field]:
    size = person.ear_size
    x = (np.abs(grid.x) - person.cheek_width - person.ear_out + 1.5) / (5.2 * size)
    y = (grid.y - person.ear_y) / (12.5 * size)
    radius = np.sqrt(x * x + y * y)
    rim = gauss((radius - 0.78) / 0.18)
    height = -36.0 + 4 * rim + 2 * x - 40 * np.clip(radius - 1, 0, None)
    return step(1.1, 0.9, radius), np.maximum(height, FAR_PLANE)


def _hair(person: Person, grid: Grid, generator: np.random.Generator) -> tuple[Field, Field]:
    p = person
    top, side = max(p.hair_top, 1.0), max(p.hair_side, 0.6)
    strands = noise(generator, grid, 2.2, 14.0)
    locks = noise(generator, grid, 9.0, 16.0)
    # Below the ears long hair hangs straight where the skull narrows.
    falls = step(p.hair_end + 7 + 3 * locks, p.hair_end - 9, grid.y)
    hanging = p.cheek_width + side + p.hair_wave * np.sin(grid.y / 6.0) + 0.05 * grid.y
    width = half_width(p, grid.y, top) + side
    below = step(-8, 10, grid.y)
    width = width + below * (hanging * falls - width)
    profile = _profile(p, grid.y, top) + top * 0.8
    profile = profile + below * (profile.max() - 16 - profile)
    shell = _dome(grid.x, width + 0.9 * p.hair_curl * locks, profile, 2.3)
    # Thin hair is smooth hair: waves deeper than it is thick would show the scalp.
    rough = min(1.0, top / 5)
    shell += rough * ((0.3 + 0.5 * p.hair_curl) * strands + 1.1 * locks)
    inside = _inside_hairline(p, grid, strands, locks, falls)
    # Hair grows out of the skin: at its edge the shell is as low as the skull.
    shell = shell - 1.1 * top * step(7.0, -1.0, inside)
    cover = step(-1.6, 1.6, inside)
    return cover, np.maximum(shell - 50 * (1 - cover), FAR_PLANE).astype(np.float32)


def _inside_hairline(p: Person, grid: Grid, strands: Field, locks: Field, falls: Field) -> Field:
    """Return how far a pixel lies inside the hair, template pixels, negative on the skin."""
    across = np.abs(grid.x) / np.maximum(half_width(p, grid.y), 1.0)
    line = p.hairline_y + p.hairline_round * (grid.x / 25) ** 2 + 0.9 * strands
    line = line + p.hairline_sweep * np.tanh((grid.x - p.hairline_part) / 10)
    line = line - 30 * max(p.baldness, 0) * gauss(grid.x / 24)
    # At the temples the line turns down and runs into the sideburns.
    line = line + 26 * step(0.72, 1.02, across)
    edge = np.maximum(half_width(p, grid.y) * 0.955, 0) + 0.6 * locks
    beside = np.abs(grid.x) - edge - 14 * (1 - falls) - 5 * step(-16, -34, grid.y)
    return np.maximum(line - grid.y, np.minimum(beside, 8.0))
