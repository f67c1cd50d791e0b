"""Scores of listed pairs, against one product a pair in float64."""

import numpy as np
import pytest

from marginface.evaluation import listed_pairs as module
from marginface.evaluation.listed_pairs import cosines_of_codes, pair_cosines


@pytest.mark.parametrize("order", ["grouped", "grouped by second", "shuffled", "few"])
@pytest.mark.parametrize("scores_at_once", [1 << 23, 300])
def test_pair_scores_equal_float64(order, scores_at_once, monkeypatch):
    monkeypatch.setattr(module, "SCORES", scores_at_once)
    monkeypatch.setattr(module, "SLAB", scores_at_once)
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(150, 16))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = 60 if order == "few" else 6000
    first, second = rng.integers(0, 30, pairs), rng.integers(20, 150, pairs)
    if order == "few":
        monkeypatch.setattr(module, "GATHER_COST", 1)
    if order.startswith("grouped"):
        kept = np.argsort(first, kind="stable")
        # Runs, but not in ascending order of the first row.
        kept = np.concatenate([kept[3000:], kept[:3000]])
        first, second = first[kept], second[kept]
    if order == "grouped by second":
        first, second = second, first
    expected = np.array([rows[i] @ rows[j] for i, j in zip(first, second, strict=True)])
    scores = pair_cosines(rows.astype(np.float32), first, second)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    np.testing.assert_allclose(pair_cosines(rows, first, second), expected, atol=1e-14)


@pytest.mark.parametrize("order", ["grouped", "shuffled"])
def test_codes_stand_for_rows(order):
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(40, 8))
    row_of = rng.permutation(90) % 40
    first, second = rng.integers(0, 20, 5000), rng.integers(0, 90, 5000)
    if order == "grouped":
        first.sort()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(
        cosines_of_codes(rows, row_of, first, second),
        np.sum(rows[row_of[first]] * rows[row_of[second]], axis=1),
        atol=1e-14,
    )


def test_scores_of_one_template_with_itself_stay_cosines():
    rows = np.random.default_rng(3).normal(size=(500, 33)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert pair_cosines(rows, np.arange(500), np.arange(500)).max() <= 1
