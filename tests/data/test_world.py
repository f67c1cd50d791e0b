"""The procedural world: pure pictures, kept truth, packs that are reused and never half made."""

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest

from marginface.data import world as world_room
from marginface.data import world_workers
from marginface.data.packs import PackedFaces
from marginface.data.world import WorldConfig, generate_world, make_picture, world_depth
from marginface.errors import DataError

SMALL = {"identities": 3, "images_per_identity": 2, "size": 32}


def test_same_bytes_whatever_the_workers_and_the_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = generate_world(tmp_path / "one", **SMALL, workers=1)
    monkeypatch.setattr(world_room, "FEW", 0)
    two = generate_world(tmp_path / "two", **SMALL, workers=2)
    later = generate_world(
        tmp_path / "later", identities=1, images_per_identity=2, size=32, first_identity=2
    )
    assert one.fingerprint == two.fingerprint
    np.testing.assert_array_equal(one.read([4, 5]), later.read([0, 1]))
    assert one.names[4:] == later.names
    alone = make_picture(WorldConfig(size=32), 2, 1).image
    np.testing.assert_array_equal(one.read([5])[0], alone)


def test_seed_identity_and_picture_all_matter() -> None:
    config = WorldConfig(size=32)
    base = make_picture(config, 5, 1).image.astype(int)
    others = [
        make_picture(dataclasses.replace(config, seed=1), 5, 1),
        make_picture(config, 6, 1),
        make_picture(config, 5, 2),
        make_picture(dataclasses.replace(config, difficulty=0.5), 5, 1),
    ]
    for other in others:
        assert np.abs(other.image - base).mean() > 2


def test_truth_of_every_picture_is_kept(tmp_path: Path) -> None:
    pack = generate_world(tmp_path / "w", **SMALL, first_identity=7, seed=3)
    assert pack.identities == ["person_00008", "person_00009", "person_00010"]
    assert pack.names[0] == "person_00008/person_00008_0001.png"
    np.testing.assert_array_equal(pack.truth["identity"], [7, 7, 8, 8, 9, 9])
    np.testing.assert_array_equal(pack.truth["picture"], [0, 1] * 3)
    config = WorldConfig(size=32, seed=3)
    for row in range(6):
        identity, picture = int(pack.truth["identity"][row]), int(pack.truth["picture"][row])
        made = make_picture(config, identity, picture)
        c = made.conditions
        for name in ("yaw_rad", "pitch_rad", "light_x", "light_y", "ambient", "blur_px", "noise"):
            assert pack.truth[name][row] == getattr(c, name)
        assert pack.truth["occlusion"][row] == c.occlusion
        assert pack.truth["occluded"][row] == made.occluded
        assert pack.truth["smile"][row] == c.expression.smile
        np.testing.assert_array_equal(pack.truth["view"][row], made.view)


def test_a_complete_pack_is_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = generate_world(tmp_path / "w", **SMALL)
    monkeypatch.setattr(world_workers, "make_picture", lambda *a: pytest.fail("made again"))
    assert generate_world(tmp_path / "w", **SMALL).fingerprint == first.fingerprint


def test_a_pack_of_an_older_world_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world_room, "WORLD_VERSION", 0)
    generate_world(tmp_path / "w", **SMALL)
    monkeypatch.undo()
    pack = generate_world(tmp_path / "w", **SMALL)
    assert pack.meta["world"]["version"] == world_room.WORLD_VERSION


def test_another_world_in_the_place_is_kept(tmp_path: Path) -> None:
    before = generate_world(tmp_path / "w", **SMALL)
    with pytest.raises(DataError, match="pack with another seed, identities"):
        generate_world(tmp_path / "w", identities=4, images_per_identity=2, size=32, seed=1)
    assert PackedFaces.open(tmp_path / "w").fingerprint == before.fingerprint


def test_a_cut_run_leaves_nothing_and_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(config: WorldConfig, identity: int, picture: int) -> object:
        if identity == 2:
            raise KeyboardInterrupt
        return make_picture(config, identity, picture)

    monkeypatch.setattr(world_workers, "make_picture", cut)
    with pytest.raises(KeyboardInterrupt):
        generate_world(tmp_path / "w", **SMALL)
    assert not (tmp_path / "w").exists()
    monkeypatch.undo()
    assert len(generate_world(tmp_path / "w", **SMALL)) == 6


def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world_workers, "asdict", lambda config: {"colour": 1})
    with pytest.raises(DataError, match=r"exit code 1 \(TypeError.*colour.*try workers=1"):
        list(world_workers.make_people_in_processes(WorldConfig(), range(1), 1, workers=1))


def test_processes_end_with_their_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    # More people than it could make and lay into the pipe before it is ended.
    people = world_workers.make_people_in_processes(
        WorldConfig(size=32), range(10**6), 2, workers=1
    )
    assert next(people).identity == 0
    people.close()
    assert [process.poll() for process in started] == [-9]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"identities": 0}, "identities must be at least 1, got 0"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"first_identity": -1}, "first_identity must be at least 0"),
        ({"size": 8}, r"size must lie in \[16, 1024\] pixels, got 8"),
        ({"difficulty": 3.0}, r"difficulty must lie in \[0, 2\]"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_bad_arguments_are_told(tmp_path: Path, options: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        generate_world(tmp_path / "w", **{**SMALL, **options})
    assert not (tmp_path / "w").exists()


def test_world_depth_is_the_scene_of_the_picture() -> None:
    config = WorldConfig(size=48)
    truth, made = world_depth(config, 4, 2), make_picture(config, 4, 2)
    np.testing.assert_array_equal(truth.view, made.view)
    assert truth.light[0] == np.float32(made.conditions.ambient)
    side = truth.camera.size
    assert truth.depth.shape == truth.mask.shape == (side, side)
    assert truth.normals.shape == truth.albedo.shape == (side, side, 3)
    assert truth.albedo.min() >= -1
    assert truth.albedo.max() <= 1
    # The nose is the nearest part of the face; the head lies in the renderer's range.
    middle = truth.depth[:, side // 2 - 2 : side // 2 + 2].mean(1)
    nearest = int(np.argmin(np.where(np.arange(side) < side * 0.7, middle, 9)))
    assert abs(nearest - side * (0.5 + 16.4 / 168)) < 4 * 48 / 112 + 1
    assert truth.depth.min() > 0.88
    assert truth.depth.max() < 1.12
