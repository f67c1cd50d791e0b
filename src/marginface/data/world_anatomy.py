"""The people of the procedural world: some sixty numbers each, drawn independently.

Lengths are in pixels of the 112×112 aligned crop, x to the right and y down from its centre; the
height h points towards the camera. Colours are numbers like all others: nothing here names a group
of people.
"""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERSON_STREAM = 1
TRUNCATION = 2.3


def _trait(middle: float, spread: float) -> Any:
    return field(default=middle, metadata={"spread": spread})


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """The numbers of one identity; the defaults are the average face."""

    # Skull and outline: half widths at four heights, and how round a cross-section is.
    temple_width: float = _trait(38.5, 2.2)
    cheek_width: float = _trait(40.0, 2.4)
    jaw_width: float = _trait(32.5, 3.0)
    chin_width: float = _trait(15.5, 2.6)
    chin_y: float = _trait(59.0, 2.6)
    skull_top: float = _trait(-67.0, 2.5)
    roundness: float = _trait(2.15, 0.18)
    forehead_height: float = _trait(12.5, 2.2)
    forehead_slope: float = _trait(0.0, 2.2)
    brow_ridge: float = _trait(2.0, 1.2)
    cheekbone: float = _trait(3.2, 1.5)
    cheekbone_y: float = _trait(9.0, 2.5)
    cheek_fullness: float = _trait(0.3, 2.0)
    chin_forward: float = _trait(14.0, 2.2)
    chin_ball: float = _trait(2.8, 1.3)
    chin_cleft: float = _trait(0.2, 0.5)
    neck_width: float = _trait(25.0, 3.0)
    ear_size: float = _trait(0.92, 0.13)
    ear_out: float = _trait(1.4, 1.1)
    ear_y: float = _trait(8.0, 2.0)

    # Nose.
    nose_y: float = _trait(16.4, 2.2)
    nose_forward: float = _trait(17.0, 2.6)
    nose_bridge: float = _trait(5.0, 1.6)
    nose_bridge_width: float = _trait(4.2, 0.7)
    nose_tip_width: float = _trait(5.0, 0.8)
    nose_hump: float = _trait(0.3, 1.1)
    nose_wing: float = _trait(8.0, 1.2)
    nose_wing_height: float = _trait(5.2, 1.0)
    nose_lift: float = _trait(0.0, 1.0)

    # Eyes and brows.
    eye_x: float = _trait(17.6, 1.3)
    eye_y: float = _trait(-3.8, 0.8)
    eye_width: float = _trait(8.3, 0.7)
    eye_open: float = _trait(5.2, 0.8)
    eye_slant: float = _trait(0.04, 0.075)
    eye_depth: float = _trait(4.2, 1.3)
    eye_fold: float = _trait(2.7, 0.8)
    eye_bag: float = _trait(0.35, 0.35)
    iris_size: float = _trait(3.45, 0.22)
    brow_gap: float = _trait(10.0, 1.4)
    brow_inner: float = _trait(7.0, 1.6)
    brow_length: float = _trait(19.5, 1.8)
    brow_thick: float = _trait(1.75, 0.5)
    brow_arch: float = _trait(2.2, 1.1)
    brow_tilt: float = _trait(0.02, 0.08)
    brow_dark: float = _trait(0.75, 0.18)

    # Mouth.
    mouth_y: float = _trait(36.8, 1.5)
    mouth_width: float = _trait(14.6, 1.7)
    lip_upper: float = _trait(3.6, 1.0)
    lip_lower: float = _trait(5.0, 1.2)
    lip_bow: float = _trait(0.9, 0.45)
    lip_forward: float = _trait(3.4, 0.9)
    lip_tilt: float = _trait(0.0, 0.9)
    lip_red: float = _trait(0.45, 0.2)
    lip_dark: float = _trait(0.18, 0.12)

    # Colours: pigment and blood of the skin, pigment and grey of the hair, hue of the iris.
    skin_pigment: float = _trait(0.42, 0.48)
    skin_red: float = _trait(0.07, 0.045)
    skin_yellow: float = _trait(0.0, 0.05)
    skin_age: float = _trait(0.35, 0.30)
    freckles: float = _trait(0.0, 0.35)
    hair_pigment: float = _trait(1.5, 1.0)
    hair_red: float = _trait(0.0, 0.22)
    hair_grey: float = _trait(-0.15, 0.35)
    iris_pigment: float = _trait(0.55, 0.45)
    iris_hue: float = _trait(0.5, 0.35)

    # Hair: line, volume, length; the outline decides as much as the colour.
    hairline_y: float = _trait(-36.0, 5.0)
    hairline_round: float = _trait(5.0, 4.0)
    hairline_part: float = _trait(0.0, 14.0)
    hairline_sweep: float = _trait(0.0, 5.0)
    hair_top: float = _trait(6.0, 3.2)
    hair_side: float = _trait(3.6, 2.4)
    hair_end: float = _trait(14.0, 34.0)
    hair_wave: float = _trait(0.8, 0.8)
    hair_curl: float = _trait(0.5, 0.3)
    baldness: float = _trait(-0.9, 0.8)
    beard: float = _trait(-0.35, 0.55)
    beard_line: float = _trait(26.0, 4.0)
    moustache: float = _trait(-0.25, 0.5)

    # What the person likes to wear: turns the odds of single pictures, never the face.
    likes_glasses: float = _trait(-0.3, 0.5)
    glasses_round: float = _trait(0.5, 0.3)
    glasses_dark: float = _trait(0.6, 0.3)


def person_generator(seed: int, identity: int) -> np.random.Generator:
    """Return the random stream of one identity."""
    return np.random.default_rng((seed, PERSON_STREAM, identity))


def draw_person(seed: int, identity: int) -> Person:
    """Draw an identity: normal around the average face, cut at 2.3 spreads.

    Args:
        seed: Of the world.
        identity: Which person, from 0; each is drawn alone, so worlds of any size agree.

    Example:
        >>> draw_person(0, 3) == draw_person(0, 3), draw_person(0, 3) == draw_person(0, 4)
        (True, False)
    """
    traits = fields(Person)
    draws = _truncated_normal(person_generator(seed, identity), len(traits))
    values = {
        trait.name: float(trait.default + trait.metadata["spread"] * draw)
        for trait, draw in zip(traits, draws, strict=True)
    }
    return Person(**values)


def _truncated_normal(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    draws = generator.standard_normal((4, count))
    # The first of four tries that lies inside; four misses in a row (2e-7) are clipped.
    chosen = np.argmax(np.abs(draws) <= TRUNCATION, axis=0)
    return np.clip(draws[chosen, np.arange(count)], -TRUNCATION, TRUNCATION)
