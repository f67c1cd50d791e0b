"""One picture of the procedural world, from three numbers: seed, identity, picture.

The canonical head is shaded and carried into the view by the same renderer that recognition learns
through; what a camera and an imperfect alignment add is laid over it. Each picture is made alone,
so neither its neighbours nor the number of workers can change a byte of it.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from marginface.data.world_anatomy import Person, draw_person, person_generator
from marginface.data.world_conditions import Conditions, draw_conditions, picture_generator
from marginface.data.world_features import draw_features, mouth_corner, move_head
from marginface.data.world_fields import TEMPLATE_SIZE, Field, Grid, blur, make_grid, mix
from marginface.data.world_head import shape_head
from marginface.data.world_lens import compose, develop, make_background
from marginface.data.world_occluders import hand_cover, wear
from marginface.data.world_pose import solve_view
from marginface.data.world_skin import paint_head, skin_colour
from marginface.rendering import (
    Camera,
    facing_light,
    normal_axes,
    sample_canonical,
    trace,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldConfig:
    """What a world is made from.

    Args:
        size: Side of the crops, pixels.
        seed: Of everything; another seed is another world.
        difficulty: Factor on the spread of pose, light, expression, blur, noise and on the chance
            of occlusion. At 0 all pictures of a person are alike, at 1 they differ as snapshots do.
    """

    size: int = 112
    seed: int = 0
    difficulty: float = 1.0

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 1024:
            raise ValueError(f"size must lie in [16, 1024] pixels, got {self.size}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        if not 0 <= self.difficulty <= 2:
            raise ValueError(f"difficulty must lie in [0, 2], got {self.difficulty}")


@dataclass(frozen=True, slots=True, eq=False)
class CanonicalHead:
    """A head in the canonical frame, worn things included.

    Args:
        depth: (n, n), seen by `camera`.
        albedo: Reflectance in [0, 1], (n, n, 3).
        alpha: Where the head is, (n, n).
        hidden: Share of each pixel that something worn hides, (n, n).
        cavity: Share of the ambient light that reaches each pixel, (n, n).
        points: Five landmarks (x, y) in template pixels with their heights, (5, 3).
    """

    depth: Field
    albedo: Field
    alpha: Field
    hidden: Field
    cavity: Field
    points: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class WorldPicture:
    """A finished picture and what is known about it.

    Args:
        image: RGB, uint8, (size, size, 3).
        conditions: What was drawn.
        view: The renderer's six numbers; its rotation about z includes the alignment.
        occluded: Share of the head's visible pixels that are hidden.
    """

    image: NDArray[np.uint8]
    conditions: Conditions
    view: NDArray[np.float32]
    occluded: float


def make_picture(config: WorldConfig, identity: int, picture: int) -> WorldPicture:
    """Make one picture.

    Args:
        config: The world.
        identity: Which person, from 0.
        picture: Which picture of that person, from 0.
    """
    person, conditions, generator = draw_scene(config, identity, picture)
    grid = make_grid(config.size)
    head = canonical_head(config, identity, person, conditions, generator)
    view = solve_view(head.points, conditions, grid)
    seen = _photograph(head, conditions, view, grid)
    colour, alpha, hidden = seen[..., :3], seen[..., 3], seen[..., 4]
    colour = compose(colour, alpha, make_background(generator, config.size))
    if conditions.occlusion == "hand":
        hand = hand_cover(conditions, config.size)
        tone = skin_colour(person) * np.float32(conditions.ambient + 0.6 * conditions.diffuse)
        rounded = 0.75 + 0.25 * cv2.GaussianBlur(hand, (0, 0), config.size / 40)[..., None]
        colour = mix(colour, tone * rounded, hand)
        hidden = np.maximum(hidden, hand)
    occluded = float((hidden * alpha).sum() / max(float(alpha.sum()), 1.0))
    image = develop(colour, conditions, grid, generator)
    return WorldPicture(image, conditions, view, occluded)


def draw_scene(
    config: WorldConfig, identity: int, picture: int
) -> tuple[Person, Conditions, np.random.Generator]:
    """Return who is on a picture, under which conditions, and the picture's random stream."""
    person = draw_person(config.seed, identity)
    generator = picture_generator(config.seed, identity, picture)
    return person, draw_conditions(person, generator, difficulty=config.difficulty), generator


def canonical_head(
    config: WorldConfig,
    identity: int,
    person: Person,
    conditions: Conditions,
    generator: np.random.Generator,
) -> CanonicalHead:
    """Return the head of one picture: expression and worn things, no light yet."""
    grid = make_grid(config.size)
    expression = conditions.expression
    maps = move_head(person, expression, _neutral_maps(config.seed, identity, config.size), grid)
    height, albedo, alpha = maps[..., 0].copy(), maps[..., 1:4].copy(), maps[..., 4]
    draw_features(person, expression, height, albedo, grid)
    points = _landmarks(person, conditions, height, grid)
    height, albedo, hidden = wear(person, conditions, height, albedo, grid, generator)
    hollow = np.clip(blur(height, 5.0, grid) - height, 0, 8)
    cavity = np.exp(-0.055 * hollow).astype(np.float32)
    return CanonicalHead(grid.to_depth(height), albedo, alpha, hidden, cavity, points)


@lru_cache(maxsize=4)
def _neutral_maps(seed: int, identity: int, size: int) -> Field:
    # Height, three colours and coverage side by side: one remap moves them all.
    person, grid = draw_person(seed, identity), make_grid(size)
    generator = np.random.default_rng(person_generator(seed, identity).integers(2**63, size=2))
    shape = shape_head(person, grid, generator)
    albedo = paint_head(person, shape, grid, generator)
    return np.dstack((shape.height, albedo, shape.alpha)).astype(np.float32)


def _landmarks(
    person: Person, conditions: Conditions, height: Field, grid: Grid
) -> NDArray[np.float64]:
    corner_x, corner_y = mouth_corner(person, conditions.expression)
    places = np.array(
        [
            (-person.eye_x, person.eye_y),
            (person.eye_x, person.eye_y),
            (0.0, person.nose_y),
            (-corner_x, corner_y),
            (corner_x, corner_y),
        ]
    )
    columns, rows = np.rint(places / grid.pixel + grid.camera.centre_px).astype(int).T
    return np.column_stack((places, height[rows, columns]))


def _photograph(
    head: CanonicalHead, conditions: Conditions, view: NDArray[np.float32], grid: Grid
) -> Field:
    """Return the lit head in the view: three colours, coverage, hidden share, (size, size, 5)."""
    with torch.no_grad():
        depth, turn = torch.from_numpy(head.depth)[None], torch.from_numpy(view)[None]
        canonical = torch.from_numpy(_light_head(head, conditions, depth, grid.camera))
        planes = _planes(view, float(np.ptp(head.depth)))
        places, mask = trace(depth, turn, grid.camera, planes=planes, target=grid.target)
        sampled = sample_canonical(canonical[None], places)[0].numpy()
    return np.ascontiguousarray((sampled * mask[0].numpy()).transpose(1, 2, 0))


def _planes(view: NDArray[np.float32], thickness: float) -> int:
    # One trial depth for every 4 template pixels a ray moves sideways: the nose is 8 wide.
    sideways = (
        np.tan(np.hypot(view[0], view[1]) + 0.09) * thickness * Camera(TEMPLATE_SIZE).focal_px
    )
    return 4 + int(np.ceil(sideways / 4.0))


def _light_head(
    head: CanonicalHead, conditions: Conditions, depth: torch.Tensor, camera: Camera
) -> Field:
    c = conditions
    normals = normal_axes(depth, camera)
    light = np.array([c.light_x, c.light_y, 1.0])
    half = light / np.linalg.norm(light) + np.array([0, 0, 1.0])
    facing = _facing(normals, light)
    gloss = _facing(normals, half) ** 2
    gloss = np.float32(0.10 * c.diffuse) * gloss**8 * (0.4 + head.albedo[..., 1])
    strength = (np.float32(c.ambient) + np.float32(c.diffuse) * facing) * head.cavity
    canonical = np.empty((5, *facing.shape), dtype=np.float32)
    for channel in range(3):
        canonical[channel] = head.albedo[..., channel] * strength + gloss
    canonical[3], canonical[4] = head.alpha, head.hidden
    return canonical


def _facing(normals: list[torch.Tensor], direction: NDArray[np.float64]) -> Field:
    slope = torch.from_numpy(direction[None, :2] / direction[2]).float()
    return facing_light(normals, slope)[0].numpy()


def truth_of(made: WorldPicture, identity: int, picture: int) -> dict[str, Any]:
    """Return the truth columns of a picture."""
    c = made.conditions
    return {
        "identity": identity,
        "picture": picture,
        "yaw_rad": c.yaw_rad,
        "pitch_rad": c.pitch_rad,
        "roll_rad": float(made.view[2]),
        "view": made.view,
        "light_x": c.light_x,
        "light_y": c.light_y,
        "ambient": c.ambient,
        "diffuse": c.diffuse,
        "exposure": c.exposure,
        "blur_px": c.blur_px,
        "noise": c.noise,
        "occlusion": c.occlusion,
        "occluded": made.occluded,
        "smile": c.expression.smile,
        "mouth_open": c.expression.mouth_open,
        "brow_raise": c.expression.brow_raise,
        "eye_open": c.expression.eye_open,
    }
