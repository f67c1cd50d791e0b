import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from marginface.alignment import TEMPLATE_112, align_face, scale_of, similarity_transform
from marginface.weights import resolve_weights


def moved(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ matrix[:, :2].T + matrix[:, 2]


def similarity(scale: float, angle_rad: float, x: float, y: float) -> NDArray[np.float64]:
    c, s = scale * math.cos(angle_rad), scale * math.sin(angle_rad)
    return np.array([[c, -s, x], [s, c, y]])


def umeyama(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Umeyama's paper, equations 38 to 43, with the singular value decomposition."""
    mean_s, mean_t = source.mean(0), target.mean(0)
    s, t = source - mean_s, target - mean_t
    u, d, vt = np.linalg.svd(t.T @ s / len(s))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / (s**2).sum() * len(s)
    return np.column_stack([scale * rotation, mean_t - scale * rotation @ mean_s])


@given(st.floats(0.1, 5), st.floats(-math.pi, math.pi), st.floats(-300, 300), st.floats(-300, 300))
def test_undoes_any_similarity(scale: float, angle_rad: float, x: float, y: float) -> None:
    points = moved(TEMPLATE_112, similarity(scale, angle_rad, x, y))
    found = similarity_transform(points)
    np.testing.assert_allclose(moved(points, found), TEMPLATE_112, atol=1e-9)
    assert scale_of(found) == pytest.approx(1 / scale)


@given(st.integers(0, 10_000))
def test_equals_umeyama_on_noisy_points(seed: int) -> None:
    points = TEMPLATE_112 * 1.7 + np.random.default_rng(seed).normal(0, 8, (5, 2))
    np.testing.assert_allclose(
        similarity_transform(points), umeyama(points, TEMPLATE_112), rtol=1e-9, atol=1e-9
    )


def test_never_mirrors() -> None:
    mirrored = TEMPLATE_112 * [-1, 1]
    assert np.linalg.det(similarity_transform(mirrored)[:, :2]) > 0


@pytest.mark.parametrize("size", [32, 56, 224])
def test_other_sizes_frame_the_same(size: int) -> None:
    """The crop's corners must come from the same places of the picture at every size."""
    points = TEMPLATE_112 * 2 + 7
    corners = np.array([[-0.5, -0.5], [1, 0], [0, 1]])
    corners[1:] = [[111.5, -0.5], [-0.5, 111.5]]
    scaled = (corners + 0.5) * size / 112 - 0.5
    back = cv2.invertAffineTransform(similarity_transform(points))
    back_scaled = cv2.invertAffineTransform(similarity_transform(points, size=size))
    np.testing.assert_allclose(moved(corners, back), moved(scaled, back_scaled), atol=1e-9)


def test_equals_opencv() -> None:
    """OpenCV's own alignment for SFace, on rotated and scaled faces up to twice the crop."""
    reference = cv2.FaceRecognizerSF.create(str(resolve_weights("sface")), "")
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)
    image = np.asarray(cv2.resize(coarse, (300, 300), interpolation=cv2.INTER_CUBIC))
    for scale in (0.6, 1.0, 1.4, 1.9):
        shape = similarity(scale, rng.uniform(-0.6, 0.6), 40, 40)
        points = moved(TEMPLATE_112, shape) + rng.normal(0, 2, (5, 2))
        face = np.concatenate([[0, 0, 1, 1], points.ravel(), [1]]).astype(np.float32)[None]
        ours = align_face(image, points).astype(int)
        theirs = reference.alignCrop(image, face).astype(int)
        # Their points are float32, so the sampling grid of 1/32 pixel differs here and there.
        assert np.abs(ours - theirs).mean() < 0.5
        assert np.abs(ours - theirs).max() <= 16


def test_large_face_is_averaged_not_skipped() -> None:
    """Fine stripes far below the crop's resolution must come out grey."""
    side = 1792
    image = np.zeros((side, side, 3), np.uint8)
    image[:, ::2] = 255
    crop = align_face(image, TEMPLATE_112 * side / 112)
    inner = crop[20:-20, 20:-20].astype(int)
    assert np.abs(inner - 127.5).max() < 4
    shown = align_face(np.asarray(cv2.resize(image, (2, 2))), np.eye(5, 2) * 1.5)
    assert shown.shape == (112, 112, 3)


def test_large_face_lands_on_the_template() -> None:
    image = np.zeros((1000, 1000, 3), np.uint8)
    points = TEMPLATE_112 * 8 + 30
    for x, y in points:
        cv2.circle(image, (round(x), round(y)), 24, (255, 255, 255), -1)
    crop = align_face(image, points)[..., 0].astype(float)
    for x, y in TEMPLATE_112:
        left, top = round(x) - 6, round(y) - 6
        patch = crop[top : top + 13, left : left + 13]
        rows, columns = np.mgrid[top : top + 13, left : left + 13]
        centre = (patch * columns).sum() / patch.sum(), (patch * rows).sum() / patch.sum()
        np.testing.assert_allclose(centre, (x, y), atol=0.15)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((4, 2)), r"points must have shape \(5, 2\), got \(4, 2\)"),
        (np.ones((5, 2)), "points must not coincide"),
        (np.full((5, 2), np.nan), "points must be finite"),
    ],
)
def test_refuses(points: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        align_face(np.zeros((50, 50, 3), np.uint8), points)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        similarity_transform(TEMPLATE_112, size=0)
