"""The procedural face world: any number of people who do not exist, with everything known of them.

A person is some eighty independent numbers; a picture adds pose, light, expression, camera and
occlusion. Pictures lie in the geometry of the 112×112 aligned crop, so that a recogniser learns on
them as it would on photographs, offline and in minutes, and can be judged on people never seen.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from marginface.data.pack_format import is_pack
from marginface.data.pack_writer import PackWriter
from marginface.data.packs import PackedFaces
from marginface.data.world_fields import Field, make_grid
from marginface.data.world_pictures import (
    WorldConfig,
    canonical_head,
    draw_scene,
    make_picture,
)
from marginface.data.world_pose import solve_view
from marginface.data.world_workers import Made, make_people, make_people_in_processes
from marginface.errors import DataError
from marginface.progress import track
from marginface.rendering import Camera, normals_from_depth

# Goes up whenever the same seed no longer gives the same people; older packs are then made anew.
WORLD_VERSION = 3
# Starting processes takes as long as making a hundred pictures.
FEW = 240

__all__ = ["WorldConfig", "WorldTruth", "generate_world", "make_picture", "world_depth"]


@dataclass(frozen=True, slots=True, eq=False)
class WorldTruth:
    """The scene behind a picture, for judging a reconstruction.

    Args:
        depth: Canonical depth map, (n, n), seen by `camera`; a margin of a quarter lies around the
            crop, which is `depth[m:-m, m:-m]` with m = (camera.size - target.size) / 2.
        normals: Of the depth map, pointing away from the camera, (n, n, 3).
        albedo: Reflectance in [-1, 1] as the renderer takes it, (n, n, 3).
        mask: Where the head is, (n, n).
        view: The view of the picture, the renderer's six numbers.
        light: The light of the picture: ambient, diffuse, l_x, l_y.
        camera: Of the canonical maps.
        target: Of the picture.
    """

    depth: Field
    normals: Field
    albedo: Field
    mask: NDArray[np.bool_]
    view: Field
    light: Field
    camera: Camera
    target: Camera


def world_depth(config: WorldConfig, identity: int, picture: int) -> WorldTruth:
    """Return depth, normals, albedo, view and light of one picture, made anew.

    What the world adds to the plain renderer (cavities, gloss, the lens) is not in it.

    Args:
        config: The world, as in the pack's `meta["world"]`.
        identity: As in the pack's truth.
        picture: As in the pack's truth.
    """
    person, conditions, generator = draw_scene(config, identity, picture)
    grid = make_grid(config.size)
    head = canonical_head(config, identity, person, conditions, generator)
    normals = normals_from_depth(torch.from_numpy(head.depth)[None], grid.camera)[0].numpy()
    c = conditions
    return WorldTruth(
        depth=head.depth,
        normals=normals,
        albedo=(2 * head.albedo - 1).astype(np.float32),
        mask=head.alpha > 0.5,
        view=solve_view(head.points, conditions, grid),
        light=np.array([c.ambient, c.diffuse, c.light_x, c.light_y], dtype=np.float32),
        camera=grid.camera,
        target=grid.target,
    )


def generate_world(
    out: str | Path,
    *,
    identities: int,
    images_per_identity: int,
    size: int = 112,
    seed: int = 0,
    first_identity: int = 0,
    difficulty: float = 1.0,
    workers: int = 2,
    encoding: str = "raw",
) -> PackedFaces:
    """Make a pack of procedural people, or open the one that is there already.

    The pack appears only when it is complete; what a cut run leaves behind is thrown away. A
    picture depends on the seed, its identity and its number alone, so ranges of people that do not
    overlap are people never seen in one another.

    Args:
        out: The folder of the pack.
        identities: How many people.
        images_per_identity: How many pictures of each.
        size: Side of the pictures in pixels.
        seed: Of the world.
        first_identity: Number of the first person.
        difficulty: See `WorldConfig`.
        workers: Processes; small sets are made in this one.
        encoding: How the pack stores pictures.

    Raises:
        DataError: If something else than this world lies at `out`.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> pack = generate_world(f"{folder}/w", identities=2, images_per_identity=2, size=32)
        >>> pack.names[2], pack.truth["yaw_rad"].shape
        ('person_00002/person_00002_0001.png', (4,))
    """
    counts = {"identities": identities, "images_per_identity": images_per_identity}
    for name, count in {**counts, "workers": workers}.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    if first_identity < 0:
        raise ValueError(f"first_identity must be at least 0, got {first_identity}")
    config = WorldConfig(size=size, seed=seed, difficulty=difficulty)
    described = {
        "version": WORLD_VERSION,
        **asdict(config),
        **counts,
        "first_identity": first_identity,
    }
    if is_pack(Path(out)) and (there := _reopen(Path(out), described, encoding)):
        return there
    meta = {"name": "procedural face world", "licence": "CC0-1.0", "world": described}
    with PackWriter(out, size=size, encoding=encoding, meta=meta, may_replace=True) as writer:
        people = range(first_identity, first_identity + identities)
        pictures = _all_pictures(config, people, images_per_identity, workers)
        total = identities * images_per_identity
        for made in track(pictures, "making people", total=total):
            person = f"person_{made.identity + 1:05d}"
            name = f"{person}/{person}_{made.picture + 1:04d}.png"
            writer.add(made.image, person, name, truth=made.truth)
    return PackedFaces.open(out)


def _reopen(out: Path, described: dict[str, Any], encoding: str) -> PackedFaces | None:
    """Return the pack at `out` if it is this world, nothing if an older version made it."""
    pack = PackedFaces.open(out)
    wanted = {**described, "encoding": encoding}
    found = {**(pack.meta.get("world") or {}), "encoding": pack.encoding}
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if not differing:
        return pack
    if differing == ["version"]:
        return None
    raise DataError(
        f"{out} must be this world or not be there, got a pack with another "
        f"{', '.join(differing)}; give another name, or remove it"
    )


def _all_pictures(
    config: WorldConfig, people: range, images_per_identity: int, workers: int
) -> Iterator[Made]:
    if workers == 1 or len(people) * images_per_identity < FEW:
        return make_people(config, people, images_per_identity)
    return make_people_in_processes(config, people, images_per_identity, workers=workers)
