"""What differs between two pictures of one person: pose, light, expression, camera, occlusion."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marginface.data.world_anatomy import Person
from marginface.data.world_features import Expression

PICTURE_STREAM = 2
# The order is the code stored in packs; new kinds go to the end.
OCCLUSION_KINDS = ("none", "glasses", "sunglasses", "scarf", "strand", "hand")
# Chance of each kind at difficulty 1; glasses besides depend on the person.
OCCLUSION_CHANCE = {"sunglasses": 0.05, "scarf": 0.04, "strand": 0.06, "hand": 0.06}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Everything about one picture that is not the person.

    Args:
        yaw_rad: Turn of the head, positive to the left of the picture.
        pitch_rad: Nod, positive down.
        roll_rad: Tilt left over by an imperfect alignment.
        ambient: Ambient light k_a.
        diffuse: Directed light k_d.
        light_x: Direction of the light, l_x of `marginface.rendering.shade`.
        light_y: Direction of the light, l_y.
        expression: What the face does.
        occlusion: One of `OCCLUSION_KINDS`.
        occlusion_place: Three numbers in [-1, 1] that place the occluder.
        blur_px: Deviation of the blur, in pixels of the 112×112 crop.
        noise: Deviation of the sensor noise, as a share of white.
        exposure: Factor on all channels.
        contrast: Exponent of the tone curve.
        white_balance: Factors on red and blue.
        shift: Alignment error in x and y, template pixels.
        zoom: Alignment error in size, a factor.
    """

    yaw_rad: float
    pitch_rad: float
    roll_rad: float
    ambient: float
    diffuse: float
    light_x: float
    light_y: float
    expression: Expression
    occlusion: str
    occlusion_place: tuple[float, float, float]
    blur_px: float
    noise: float
    exposure: float
    contrast: float
    white_balance: tuple[float, float]
    shift: tuple[float, float]
    zoom: float


def picture_generator(seed: int, identity: int, picture: int) -> np.random.Generator:
    """Return the random stream of one picture."""
    return np.random.default_rng((seed, PICTURE_STREAM, identity, picture))


def draw_conditions(
    person: Person, generator: np.random.Generator, *, difficulty: float
) -> Conditions:
    """Draw the conditions of one picture.

    Args:
        person: Who is on it: some like glasses.
        generator: The picture's random stream.
        difficulty: Factor on every spread and chance; 0 is a passport office.
    """
    # All draws happen in one call, so that no branch can shift the ones after it.
    n = np.clip(generator.standard_normal(20), -2.4, 2.4)
    u = generator.uniform(-1, 1, 12)
    hard = float(difficulty)
    return Conditions(
        yaw_rad=float(np.radians(np.clip(22 * hard * n[0], -50, 50))),
        pitch_rad=float(np.radians(np.clip(9 * hard * n[1], -24, 24))),
        roll_rad=float(np.radians(2.0 * hard * n[2])),
        ambient=float(0.55 + 0.14 * hard * u[0]),
        diffuse=float(0.66 + 0.20 * hard * u[1]),
        light_x=float(0.85 * hard * n[3]),
        light_y=float(0.35 + 0.45 * hard * n[4]),
        expression=_expression(n, u, hard),
        occlusion=_occlusion(person, u[2], u[3], hard),
        occlusion_place=(float(u[4]), float(u[5]), float(u[6])),
        blur_px=float(0.35 + hard * 0.9 * u[7] ** 2 + hard * 1.6 * max(0.0, u[8] - 0.7) / 0.3),
        noise=float(0.006 + hard * 0.036 * u[9] ** 2),
        exposure=float(np.exp(0.09 + 0.23 * hard * n[5])),
        contrast=float(np.exp(0.16 * hard * n[6])),
        white_balance=(float(np.exp(0.08 * hard * n[7])), float(np.exp(0.11 * hard * n[8]))),
        shift=(float(0.9 * hard * n[9]), float(0.9 * hard * n[10])),
        zoom=float(np.exp(0.022 * hard * n[11])),
    )


def _expression(n: NDArray[np.float64], u: NDArray[np.float64], hard: float) -> Expression:
    opens = max(0.0, n[13]) * hard
    return Expression(
        smile=float(np.clip(0.15 + 0.6 * hard * n[12], -0.7, 1.5)),
        mouth_open=float(min(2.6 * opens * (u[10] > -0.2), 7.0)),
        brow_raise=float(1.1 * hard * n[14]),
        eye_open=float(np.clip(1.0 + 0.13 * hard * n[15], 0.62, 1.25)),
        gaze_x=float(0.9 * hard * n[16]),
        gaze_y=float(0.35 * hard * n[17]),
    )


def _occlusion(person: Person, wears: float, other: float, hard: float) -> str:
    chance = (other + 1) / 2
    for kind, share in OCCLUSION_CHANCE.items():
        if chance < share * hard:
            return kind
        chance -= share * hard
    # Half of the people never wear glasses; the keenest wear them in four pictures of five.
    return "glasses" if (wears + 1) / 2 < min(max(person.likes_glasses, 0.0), 0.8) else "none"
