"""Pooling and pair scores, against loops over templates and over pairs in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginface.evaluation import templates as module
from marginface.evaluation.templates import pool_templates, template_scores


def loop_templates(features, template_ids, media_ids, *, keeps_norms=True, face_weights=None):
    """Media means, their sum, divided by its length: one template after the other."""
    faces = np.array(features, dtype=np.float64)
    if not keeps_norms:
        faces = np.array([f / np.linalg.norm(f) if f.any() else f for f in faces])
    if face_weights is not None:
        faces = faces * np.asarray(face_weights)[:, None]
    pooled = []
    for template in sorted(set(template_ids)):
        total = np.zeros(faces.shape[1])
        mine = [row for row, t in enumerate(template_ids) if t == template]
        for medium in sorted({media_ids[row] for row in mine}):
            total += np.mean([faces[row] for row in mine if media_ids[row] == medium], axis=0)
        pooled.append(total / np.linalg.norm(total) if total.any() else total)
    return np.array(pooled)


def made_up(rng, faces=3000, templates=200, media=40, dim=16):
    features = rng.normal(size=(faces, dim)) * rng.uniform(1, 30, size=(faces, 1))
    return (
        features.astype(np.float32),
        rng.integers(0, templates, faces) * 7,
        rng.integers(media, size=faces),
    )


def test_by_hand():
    # Two frames of one video weigh as one photograph.
    features = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 5.0]], dtype=np.float32)
    pooled = pool_templates(features, [8, 8, 8, 3], [1, 1, 2, 9])
    assert pooled.ids.tolist() == [3, 8]
    np.testing.assert_allclose(pooled.embeddings, [[0, 1], [2**-0.5, 2**-0.5]], atol=1e-7)
    assert (pooled.faces.tolist(), pooled.media.tolist()) == ([1, 3], [1, 2])
    assert pooled.failed.tolist() == [False, False]


@pytest.mark.parametrize("keeps_norms", [True, False])
@pytest.mark.parametrize("weighs", [True, False])
@pytest.mark.parametrize("is_sorted", [True, False])
def test_pooling_equals_the_loop(keeps_norms, weighs, is_sorted):
    rng = np.random.default_rng(0)
    features, ids, media = made_up(rng)
    if is_sorted:
        order = np.lexsort((media, ids))
        ids, media = ids[order], media[order]
    weights = rng.uniform(0.1, 1, len(features)) if weighs else None
    expected = loop_templates(features, ids, media, keeps_norms=keeps_norms, face_weights=weights)
    options = {"keeps_norms": keeps_norms, "face_weights": weights}
    pooled = pool_templates(features, ids, media, **options)
    np.testing.assert_allclose(pooled.embeddings, expected, atol=5e-7)
    assert pooled.embeddings.dtype == np.float32
    exact = pool_templates(features, ids, media, **options, dtype=np.float64)
    np.testing.assert_allclose(exact.embeddings, expected, atol=1e-14)


def test_a_template_larger_than_a_block():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(3 * module.FACES, 4)).astype(np.float32)
    ids = np.repeat([5, 2], [2 * module.FACES + 7, module.FACES - 7])
    media = rng.integers(9, size=ids.size)
    pooled = pool_templates(features, ids, media)
    np.testing.assert_allclose(pooled.embeddings, loop_templates(features, ids, media), atol=1e-6)


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-2, 2)), min_size=1, max_size=40))
def test_any_grouping_of_faces(rows):
    ids, media = (np.array(column) for column in zip(*rows, strict=True))
    features = np.random.default_rng(len(rows)).normal(size=(len(rows), 3))
    pooled = pool_templates(features, ids, media, dtype=np.float64)
    np.testing.assert_allclose(pooled.embeddings, loop_templates(features, ids, media), atol=1e-12)
    assert pooled.faces.sum() == len(rows)
    assert pooled.media.sum() == len(set(rows))


def test_a_template_without_an_acquired_face_has_failed():
    features = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    pooled = pool_templates(features, [1, 2, 2], [1, 1, 2], keeps_norms=False)
    assert pooled.failed.tolist() == [True, False]
    assert template_scores(pooled, [1, 2, 2], [2, 2, 1]).tolist() == [-np.inf, 1.0, -np.inf]


@pytest.mark.parametrize(
    ("ids", "media", "weights", "message"),
    [
        ([1], [1, 2], None, "template_ids must hold one whole number"),
        ([1, 2], [1.0, 2.0], None, "media_ids must hold one whole number"),
        ([1, 2], [1, 2], [1.0], "face_weights must hold one finite number per face"),
        ([1, 2], [1, 2], [1.0, np.nan], "with 1 not finite"),
    ],
)
def test_bad_columns(ids, media, weights, message):
    with pytest.raises(ValueError, match=message):
        pool_templates(np.ones((2, 2)), ids, media, face_weights=weights)


def test_nan_is_named_by_row_and_template():
    features = np.ones((4, 2), dtype=np.float32)
    features[2, 1] = np.nan
    with pytest.raises(ValueError, match="in row 2 of template 30"):
        pool_templates(features, [10, 20, 30, 30], [1, 1, 1, 1])


def test_a_template_without_faces_is_named():
    pooled = pool_templates(np.ones((2, 2)), [1, 2], [1, 1])
    with pytest.raises(ValueError, match="got 3 without any"):
        template_scores(pooled, [1, 3], [2, 1])


@pytest.mark.parametrize("ids", [[4, 0, 2, 9], [-3, 5, 7, 8], [10**12, 1, 2, 3]])
def test_dense_and_sparse_ids_find_the_same_rows(ids):
    # Dense ones are looked up in a table, others are searched for.
    features = np.random.default_rng(5).normal(size=(4, 3))
    pooled = pool_templates(features, ids, [1, 1, 1, 1], dtype=np.float64)
    assert pooled.ids[pooled.rows(ids)].tolist() == ids
    assert pooled.rows(np.array([ids[1:3]])).shape == (1, 2)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = np.sum(unit[[0, 1, 2]] * unit[[3, 3, 1]], axis=1)
    scores = template_scores(pooled, [ids[0], ids[1], ids[2]], [ids[3], ids[3], ids[1]])
    np.testing.assert_allclose(scores, expected, atol=1e-14)
    for unknown in (6, -1, 10**13, -(2**63)):
        with pytest.raises(ValueError, match=f"got {unknown} without any"):
            pooled.rows([ids[0], unknown])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_ids_of_any_whole_type(dtype):
    pooled = pool_templates(np.eye(3), [2, 4, 5], [1, 1, 1])
    assert pooled.rows(np.array([5, 2], dtype)).tolist() == [2, 0]
    scores = template_scores(pooled, np.array([5, 2], dtype), np.array([5, 4], dtype))
    assert scores.tolist() == [1, 0]


def test_scores_agree_with_float64_to_a_millionth():
    # Long rows, as of a network: the rounding grows with their length.
    rng = np.random.default_rng(6)
    features = rng.normal(size=(600, 512)).astype(np.float32) * 20
    ids, media = np.sort(rng.integers(0, 90, 600)), rng.integers(0, 3, 600)
    first, second = rng.choice(ids, 20_000), rng.choice(ids, 20_000)
    rows = loop_templates(features, ids, media)
    place = np.searchsorted(np.unique(ids), [first, second])
    scores = template_scores(pool_templates(features, ids, media), first, second)
    np.testing.assert_allclose(scores, np.sum(rows[place[0]] * rows[place[1]], axis=1), atol=1e-6)
