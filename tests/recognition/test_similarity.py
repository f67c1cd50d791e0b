"""The two likelihood scores against integrals over the sphere, worked out point by point."""

import numpy as np
import pytest
import torch

from marginface.recognition.similarity import SCORES, row_scores
from marginface.sphere import relative_log_normaliser


def sphere_points(count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Points of the sphere in three dimensions with weights that sum to 1 (Gauss in the height)."""
    heights, weights = np.polynomial.legendre.leggauss(count)
    turns = 2 * np.pi * np.arange(count) / count
    radius = np.sqrt(1 - heights**2)
    points = np.stack(
        [
            (radius[:, None] * np.cos(turns)).ravel(),
            (radius[:, None] * np.sin(turns)).ravel(),
            np.repeat(heights, count),
        ],
        axis=1,
    )
    return points, np.repeat(weights / 2 / count, count)


def rows(*vectors: list[float]) -> tuple[np.ndarray, np.ndarray]:
    raw = np.array(vectors, np.float64)
    norms = np.linalg.norm(raw, axis=1)
    return (raw / norms[:, None]).astype(np.float32), norms.astype(np.float32)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([1.0, 2.0, 2.0], [0.0, 3.0, 4.0]),
        ([0.2, 0.0, 0.0], [-3.0, 1.0, 0.5]),
        ([0.0, 5.0, 0.0], [0.0, -5.0, 0.0]),
    ],
)
def test_three_dimensions_by_quadrature(first: list[float], second: list[float]) -> None:
    points, weights = sphere_points()
    # Densities relative to the uniform one: exp(z·x) over its mean.
    densities = []
    for vector in (first, second):
        raised = np.exp(points @ np.array(vector))
        densities.append(raised / (weights @ raised))
    (a, ka), (b, kb) = rows(first), rows(second)
    mutual = np.log(weights @ (densities[0] * densities[1]))
    assert row_scores("vmf-mutual", a, b, ka, kb)[0] == pytest.approx(mutual, abs=2e-6)
    # Each direction under the other face's density.
    logs = [
        np.array(vector) @ unit[0].astype(np.float64)
        - np.log(weights @ np.exp(points @ np.array(vector)))
        for vector, unit in ((first, b), (second, a))
    ]
    symmetric = row_scores("vmf-symmetric", a, b, ka, kb)[0]
    assert symmetric == pytest.approx(np.mean(logs), abs=2e-6)


def test_scores_of_long_features_by_their_formulas() -> None:
    generator = np.random.default_rng(0)
    raw = generator.normal(size=(2, 50, 512)) * generator.uniform(0.5, 5, size=(2, 50, 1))
    (a, ka), (b, kb) = (rows(*part) for part in raw)

    def phi(kappa: float) -> float:
        return float(relative_log_normaliser(torch.tensor(kappa, dtype=torch.float64), 512))

    mutual = row_scores("vmf-mutual", a, b, ka, kb)
    symmetric = row_scores("vmf-symmetric", a, b, ka, kb)
    for pair in range(50):
        z, w = (side[pair].astype(float) * k[pair] for side, k in ((a, ka), (b, kb)))
        lengths = np.linalg.norm(z), np.linalg.norm(w)
        whole = phi(np.linalg.norm(z + w)) - phi(lengths[0]) - phi(lengths[1])
        assert mutual[pair] == pytest.approx(whole, abs=1e-5)
        cosine = z @ w / lengths[0] / lengths[1]
        half = sum(lengths) / 2 * cosine - (phi(lengths[0]) + phi(lengths[1])) / 2
        assert symmetric[pair] == pytest.approx(half, abs=1e-5)


def test_small_features_score_as_their_product() -> None:
    raw = np.random.default_rng(1).normal(size=(2, 20, 512)) * 0.01
    (a, ka), (b, kb) = (rows(*part) for part in raw)
    expected = (raw[0] * raw[1]).sum(axis=1) / 512
    found = row_scores("vmf-mutual", a, b, ka, kb)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-9)


@pytest.mark.parametrize("score", SCORES)
def test_every_score_is_symmetric_and_rises_with_the_cosine(score: str) -> None:
    angles = np.linspace(np.pi, 0, 30)
    turned = np.stack([np.cos(angles), np.sin(angles), np.zeros(30)], axis=1).astype(np.float32)
    fixed = np.tile(np.float32([1, 0, 0]), (30, 1))
    norms = np.full(30, 4, np.float32), np.full(30, 9, np.float32)
    found = row_scores(score, fixed, turned, *norms)
    assert (np.diff(found) > 0).all()
    np.testing.assert_array_equal(found, row_scores(score, turned, fixed, *norms[::-1]))
    # A feature without direction or length still has a finite score.
    nothing = np.zeros((30, 3), np.float32)
    assert np.isfinite(row_scores(score, nothing, turned, np.zeros(30, np.float32), norms[1])).all()


def test_an_unknown_score() -> None:
    unit, norms = rows([1.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="score must be one of cosine, vmf-mutual, vmf-symmetric"):
        row_scores("vmf", unit, unit, norms, norms)
