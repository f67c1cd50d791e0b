"""Whether the pictures show what the truth says."""

import dataclasses

import numpy as np
import pytest
import torch

from marginface.alignment import TEMPLATE_112, similarity_transform
from marginface.data import world_pictures
from marginface.data.world import WorldConfig, make_picture, world_depth
from marginface.data.world_anatomy import Person, draw_person
from marginface.data.world_conditions import OCCLUSION_KINDS, Conditions, draw_conditions
from marginface.data.world_features import Expression
from marginface.data.world_fields import make_grid
from marginface.data.world_pose import _project, _to_space, solve_view
from marginface.rendering import points_to_pixels, render, transform_points

CONFIG = WorldConfig(size=64)


def plain(**changes: object) -> Conditions:
    still = draw_conditions(Person(), np.random.default_rng(0), difficulty=0.0)
    values = {"occlusion": "none", "expression": Expression(), "light_y": 0.0, "noise": 0.0}
    return dataclasses.replace(still, **{**values, **changes})


def photograph(
    monkeypatch: pytest.MonkeyPatch, conditions: Conditions, identity: int = 1
) -> np.ndarray:
    monkeypatch.setattr(world_pictures, "draw_conditions", lambda *a, **k: conditions)
    return make_picture(CONFIG, identity, 0).image.astype(np.float64)


def landmarks(person: Person) -> np.ndarray:
    p = person
    return np.array(
        [
            (-p.eye_x, p.eye_y, 6),
            (p.eye_x, p.eye_y, 6),
            (0, p.nose_y, 28),
            (-p.mouth_width, p.mouth_y, 12),
            (p.mouth_width, p.mouth_y, 12),
        ]
    )


def test_an_average_face_lies_on_the_template() -> None:
    grid = make_grid(112)
    points = landmarks(Person())
    view = solve_view(points, plain(), grid).astype(np.float64)
    placed = _project(_to_space(points), view, grid.target)
    assert np.abs(placed - TEMPLATE_112).max() < 1.5
    assert np.abs((placed - TEMPLATE_112).mean(0)).max() < 1e-3


@pytest.mark.parametrize("yaw_rad", [-0.7, 0.4])
def test_a_turned_face_stays_aligned(yaw_rad: float) -> None:
    grid = make_grid(112)
    points = landmarks(Person())
    conditions = plain(yaw_rad=yaw_rad, pitch_rad=0.2)
    view = solve_view(points, conditions, grid).astype(np.float64)
    assert view[1] == pytest.approx(yaw_rad)
    placed = _project(_to_space(points), view, grid.target)
    # No similarity brings the points nearer to the template.
    rest = similarity_transform(placed)
    assert np.hypot(rest[0, 0], rest[1, 0]) == pytest.approx(1, abs=0.01)
    assert rest[1, 0] == pytest.approx(0, abs=0.01)


def test_pose_uses_the_renderers_geometry() -> None:
    grid = make_grid(64)
    points = _to_space(landmarks(Person()))
    view = np.array([0.2, -0.5, 0.1, 0.01, -0.02, 0.05])
    turned = transform_points(torch.from_numpy(points)[None], torch.from_numpy(view)[None])
    expected = points_to_pixels(turned, grid.target)[0].numpy()
    np.testing.assert_allclose(_project(points, view, grid.target), expected, atol=1e-9)


def test_the_plain_renderer_makes_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pose, light and albedo of the truth, through the slow renderer, correlate with the bytes."""
    conditions = plain(yaw_rad=0.5, pitch_rad=0.1, light_x=0.5)
    made = photograph(monkeypatch, conditions)
    truth = world_depth(CONFIG, 1, 0)
    rendered = render(
        torch.from_numpy(truth.depth)[None],
        torch.from_numpy(truth.albedo.transpose(2, 0, 1).copy())[None],
        torch.from_numpy(truth.light)[None],
        torch.from_numpy(truth.view)[None],
        truth.camera,
        target=truth.target,
    )
    image = rendered.image[0].permute(1, 2, 0).numpy()
    face = (slice(18, 56), slice(26, 58))
    assert np.corrcoef(image[face].ravel(), made[face].ravel())[0, 1] > 0.97
    unturned = photograph(monkeypatch, plain(light_x=0.5))
    assert np.corrcoef(unturned[face].ravel(), made[face].ravel())[0, 1] < 0.85


def test_the_lit_side_is_bright(monkeypatch: pytest.MonkeyPatch) -> None:
    # Normals point away from the camera: l_x > 0 lights what faces left in the picture.
    for light_x in (-1.2, 1.2):
        image = photograph(monkeypatch, plain(light_x=light_x))
        left, right = image[30:50, 17:28].mean(), image[30:50, 36:47].mean()
        assert (left - right) * light_x > 3


def test_the_nose_turns_with_the_yaw(monkeypatch: pytest.MonkeyPatch) -> None:
    # Positive yaw carries the nose to the left; the far cheek is left with less room there.
    left = photograph(monkeypatch, plain(yaw_rad=0.6, light_x=0.0))
    right = photograph(monkeypatch, plain(yaw_rad=-0.6, light_x=0.0))
    mirrored = np.corrcoef(left[:, ::-1].ravel(), right.ravel())[0, 1]
    assert mirrored > np.corrcoef(left.ravel(), right.ravel())[0, 1] + 0.1


@pytest.mark.parametrize("kind", [kind for kind in OCCLUSION_KINDS if kind != "none"])
def test_occluders_hide_what_they_say(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    bare = photograph(monkeypatch, plain())
    covered = plain(occlusion=kind, occlusion_place=(0.4, 0.5, 0.0))
    image = photograph(monkeypatch, covered)
    occluded = make_picture(CONFIG, 1, 0).occluded
    changed = (np.abs(image - bare).max(-1) > 12).mean()
    assert 0.01 < occluded < 0.75
    assert 0.3 * occluded < changed < 3 * occluded + 0.05


def test_blur_noise_and_exposure(monkeypatch: pytest.MonkeyPatch) -> None:
    sharp = photograph(monkeypatch, plain(blur_px=0.3))
    soft = photograph(monkeypatch, plain(blur_px=3.0))
    grainy = photograph(monkeypatch, plain(blur_px=0.3, noise=0.05))
    bright = photograph(monkeypatch, plain(blur_px=0.3, exposure=1.4))

    def edges(image: np.ndarray) -> float:
        return float(np.abs(np.diff(image, axis=1)).mean())

    assert edges(soft) < 0.7 * edges(sharp) < edges(sharp) < edges(grainy)
    assert np.std(grainy - sharp) == pytest.approx(0.05 * 255, rel=0.15)
    assert bright.mean() > 1.1 * sharp.mean()


@pytest.mark.parametrize("expression", [Expression(smile=1.2), Expression(mouth_open=5.0)])
def test_expressions_move_the_lower_face(
    monkeypatch: pytest.MonkeyPatch, expression: Expression
) -> None:
    change = np.abs(
        photograph(monkeypatch, plain(expression=expression)) - photograph(monkeypatch, plain())
    )
    assert change[46:60, 20:44].mean() > 2 * change[:20, 20:44].mean()


def test_people_differ_more_than_their_pictures_when_it_is_easy() -> None:
    config = WorldConfig(size=32, difficulty=0.1)
    faces = np.array(
        [[make_picture(config, i, k).image[8:30, 8:24].ravel() for k in range(3)] for i in range(8)]
    ).astype(np.float64)
    within = faces.var(axis=1).mean()
    between = faces.mean(axis=1).var(axis=0).mean()
    assert between > 2 * within


def test_pictures_of_one_person_share_the_person() -> None:
    config = WorldConfig(size=32)
    people = [world_pictures.draw_scene(config, 3, k)[0] for k in range(3)]
    assert people[0] == people[1] == people[2] == draw_person(0, 3)


def test_every_picture_has_conditions_of_its_own() -> None:
    config = WorldConfig(size=32)
    yaws = {world_pictures.draw_scene(config, i, k)[1].yaw_rad for i in range(5) for k in range(5)}
    assert len(yaws) == 25
