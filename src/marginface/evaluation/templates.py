"""Templates fused from several pictures, and the scores of many template pairs.

    media m of template T:   f_m = mean of w_i · f_i over the faces i of T from m
    template T:              f_T = Σ f_m over its media, then divided by its length
    score(T, U)            = f_T · f_U

A video's hundred frames thus weigh as much as one photograph. Weighting: with `keeps_norms` the
feature's own length weighs the face (MagFace and κ say more of a face with a longer feature);
`face_weights` multiplies by anything else, a detector's score say. Weights multiply and are not
divided by their sum, so a medium of good faces also counts more.

Faces of a few templates stand in a block, and one small matrix product pools them; pair scores are
products of blocks of templates out of which the listed pairs are picked. Both stay within 1e-6 of
float64 for unit templates of up to a few thousand dimensions.

Source: Crosswhite et al., "Template adaptation for face verification and identification", FG 2017;
    the weighting as in insightface's IJB evaluation.
Differs: a template all of whose features are 0 (no face was acquired) stays 0 and is marked failed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from marginface.evaluation.scores import FAILED

# Faces and templates of one pooling product: the block of faces stays in a core's cache.
FACES = 128
TEMPLATES = 16
# Scores of one product where the list is in order (16 MiB of float32), and where it is not.
SCORES = 1 << 22
SLAB = 1 << 26
# A product inside a large matrix costs about a hundredth of one gathered on its own.
GATHER_COST = 100
# Pairs of one first row that must stand together for the list to count as in order.
RUN = 64
ROWS = 1 << 14

Codes = NDArray[np.int64]
Rows = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """Fused templates in ascending order of their ids.

    Attributes:
        ids: Shape (templates,).
        embeddings: Unit rows, shape (templates, dim); failed ones are 0.
        faces: How many faces each was fused from, shape (templates,).
        media: From how many media, shape (templates,).
        failed: Whether no feature of it was other than 0, shape (templates,).
    """

    ids: Codes
    embeddings: Rows
    faces: Codes
    media: Codes
    failed: NDArray[np.bool_]

    def rows(self, ids: ArrayLike) -> Codes:
        """Return the row of each template id.

        Raises:
            ValueError: If an id has no template.
        """
        wanted = np.asarray(ids)
        places = np.searchsorted(self.ids, wanted).clip(max=self.ids.size - 1)
        absent = np.flatnonzero(self.ids[places] != wanted)
        if absent.size:
            raise ValueError(
                f"ids must name templates with faces, got {wanted[absent[0]]} without any "
                f"({absent.size:,} such)"
            )
        return places


def pool_templates(
    features: Rows,
    template_ids: ArrayLike,
    media_ids: ArrayLike,
    *,
    keeps_norms: bool = True,
    face_weights: ArrayLike | None = None,
    dtype: DTypeLike = np.float32,
) -> Templates:
    """Fuse the faces of each template, media first.

    Args:
        features: One row per face, shape (faces, dim), of any length; may be a memory map.
        template_ids: The template of each face, whole numbers, shape (faces,).
        media_ids: The picture or video of each face, whole numbers, shape (faces,).
        keeps_norms: Weigh each face by the length of its feature; otherwise all weigh alike.
        face_weights: Multiply each face by this, shape (faces,): detector scores, or κ.
        dtype: float64 agrees with the public code in every printed digit, at twice the cost.

    Raises:
        ValueError: If the shapes differ, or a feature or weight is NaN or infinite.
    """
    ids, template_of, media = _check_ids(features, template_ids, media_ids)
    order, groups = _grouped(template_of, media)
    weights = 1 / np.bincount(groups)[groups]
    if face_weights is not None:
        weights = weights * _check_weights(face_weights, len(features))[order]
    pooled = np.zeros((ids.size, features.shape[1]), dtype=dtype)
    sorted_templates = template_of[order]
    is_sorted = bool((np.diff(order) == 1).all())
    ends = np.cumsum(np.bincount(template_of, minlength=ids.size))
    for first, last in _blocks(ends):
        start, stop = (ends[first - 1] if first else 0), ends[last - 1]
        rows = slice(start, stop)
        block = np.asarray(features[rows] if is_sorted else features[order[rows]], dtype=dtype)
        row_weights = weights[rows]
        if not keeps_norms:
            lengths = np.sqrt(np.einsum("nd,nd->n", block, block))
            row_weights = row_weights / np.where(lengths == 0, 1, lengths)
        mixing = np.zeros((last - first, stop - start), dtype=dtype)
        mixing[sorted_templates[rows] - first, np.arange(stop - start)] = row_weights
        np.matmul(mixing, block, out=pooled[first:last])
    lengths = np.sqrt(np.einsum("nd,nd->n", pooled, pooled))
    if not np.isfinite(lengths).all():
        raise ValueError(_broken(features, ids, template_of))
    pooled /= np.where(lengths == 0, 1, lengths)[:, None]
    first_of_group = np.flatnonzero(np.append(True, np.diff(groups) != 0))
    return Templates(
        ids=ids,
        embeddings=pooled,
        faces=np.bincount(template_of, minlength=ids.size),
        media=np.bincount(sorted_templates[first_of_group], minlength=ids.size),
        failed=lengths == 0,
    )


def pair_cosines(embeddings: Rows, first: Codes, second: Codes) -> Rows:
    """Return the score of each listed pair of rows, shape (pairs,), in the embeddings' dtype.

    Fastest where the pairs of one first row stand together; any order gives the same scores up to
    rounding. Scores are cut to [-1, 1].

    Args:
        embeddings: Unit rows, shape (n, dim).
        first: Row of each pair's first side, shape (pairs,).
        second: Row of the second, shape (pairs,).
    """
    scores = np.empty(len(first), dtype=embeddings.dtype)
    products = math.prod(np.count_nonzero(np.bincount(side)) for side in (first, second))
    if products > GATHER_COST * len(first):
        _gathered(embeddings, first, second, scores)
    elif np.count_nonzero(first[1:] != first[:-1]) * RUN < len(first):
        _along_list(embeddings, first, second, scores)
    else:
        _by_slabs(embeddings, first, second, scores)
    return np.clip(scores, -1, 1, out=scores)


def template_scores(templates: Templates, first: ArrayLike, second: ArrayLike) -> Rows:
    """Return the score of each listed pair of template ids; -inf where one of them failed.

    Args:
        templates: From `pool_templates`.
        first: Template id of each pair's first side, shape (pairs,).
        second: Template id of the second, shape (pairs,).

    Raises:
        ValueError: If an id has no template.
    """
    rows = [templates.rows(side) for side in (first, second)]
    scores = pair_cosines(templates.embeddings, *rows)
    if templates.failed.any():
        scores[templates.failed[rows[0]] | templates.failed[rows[1]]] = FAILED
    return scores


def _check_ids(
    features: Rows, template_ids: ArrayLike, media_ids: ArrayLike
) -> tuple[Codes, Codes, Codes]:
    columns = []
    for name, values in (("template_ids", template_ids), ("media_ids", media_ids)):
        column = np.asarray(values)
        if features.ndim != 2 or column.shape != (len(features),) or column.dtype.kind not in "iu":
            raise ValueError(
                f"{name} must hold one whole number for each of the features' rows, got "
                f"{column.dtype} {column.shape} for features of shape {features.shape}"
            )
        columns.append(column)
    ids, template_of = np.unique(columns[0], return_inverse=True)
    return ids.astype(np.int64), template_of, columns[1].astype(np.int64)


def _check_weights(face_weights: ArrayLike, faces: int) -> NDArray[np.float64]:
    weights = np.asarray(face_weights, dtype=np.float64)
    if weights.shape != (faces,) or not np.isfinite(weights).all():
        raise ValueError(
            f"face_weights must hold one finite number per face, shape ({faces},), "
            f"got shape {weights.shape} with {int(np.sum(~np.isfinite(weights))):,} not finite"
        )
    return weights


def _grouped(template_of: Codes, media: Codes) -> tuple[Codes, Codes]:
    """Return the order that brings faces of one medium in one template together, and groups."""
    key = template_of * (int(media.max()) - int(media.min()) + 1) + (media - media.min())
    is_sorted = bool((np.diff(key) >= 0).all())
    order = np.arange(key.size) if is_sorted else np.argsort(key, kind="stable")
    groups = np.cumsum(np.append(False, np.diff(key[order]) != 0))
    return order, groups


def _blocks(ends: Codes) -> Iterator[tuple[int, int]]:
    """Yield runs of templates with about `FACES` faces, at most `TEMPLATES` of them."""
    first = 0
    while first < ends.size:
        start = ends[first - 1] if first else 0
        last = int(np.searchsorted(ends, start + FACES, side="right"))
        last = min(max(last, first + 1), first + TEMPLATES, ends.size)
        yield first, last
        first = last


def _broken(features: Rows, ids: Codes, template_of: Codes) -> str:
    # The products have spread it over all templates of a block, so the rows are asked themselves.
    for start in range(0, len(features), ROWS):
        is_broken = ~np.isfinite(np.asarray(features[start : start + ROWS])).all(axis=1)
        if is_broken.any():
            row = start + int(np.argmax(is_broken))
            return (
                f"features must be finite, got NaN or infinity in row {row} of template "
                f"{ids[template_of[row]]}; write zeros for a face that could not be acquired"
            )
    return "features must be small enough for their squares, got lengths that overflow"


def _gathered(embeddings: Rows, first: Codes, second: Codes, scores: Rows) -> None:
    for start in range(0, len(first), ROWS):
        rows = slice(start, start + ROWS)
        np.einsum("pd,pd->p", embeddings[first[rows]], embeddings[second[rows]], out=scores[rows])


def _along_list(embeddings: Rows, first: Codes, second: Codes, scores: Rows) -> None:
    """Walk down a list whose first sides stand in runs, so that a stretch of it needs few rows."""
    others, place = _places(second, len(embeddings))
    wide = np.ascontiguousarray(embeddings[others].T)
    starts = np.append(0, np.flatnonzero(first[1:] != first[:-1]) + 1)
    ends = np.append(starts[1:], len(first))
    tall = max(1, SCORES // others.size)
    for begin in range(0, starts.size, tall):
        runs = range(begin, min(begin + tall, starts.size))
        products = embeddings[first[starts[runs]]] @ wide
        for row, run in enumerate(runs):
            pairs = slice(starts[run], ends[run])
            cells = np.take(place, second[pairs], mode="clip")
            np.take(products[row], cells, out=scores[pairs], mode="clip")


def _by_slabs(embeddings: Rows, first: Codes, second: Codes, scores: Rows) -> None:
    """Multiply some first rows by all second ones, and pick their pairs from the whole list."""
    ones, place = _places(first, len(embeddings))
    others, other_place = _places(second, len(embeddings))
    wide = np.ascontiguousarray(embeddings[others].T)
    slabs = -(-ones.size * others.size // SLAB)
    tall = -(-ones.size // slabs)
    for start in range(0, ones.size, tall):
        products = (embeddings[ones[start : start + tall]] @ wide).ravel()
        for begin in range(0, len(scores), ROWS):
            pairs = slice(begin, begin + ROWS)
            rows = np.take(place, first[pairs], mode="clip") - start
            cells = rows * others.size + np.take(other_place, second[pairs], mode="clip")
            if slabs == 1:
                np.take(products, cells, out=scores[pairs], mode="clip")
                continue
            chosen = np.flatnonzero((rows >= 0) & (rows < tall))
            scores[begin + chosen] = np.take(products, cells[chosen], mode="clip")


def _places(side: Codes, rows: int) -> tuple[Codes, Codes]:
    """Return the rows a side of the list uses, and where each row of all stands among them."""
    used = np.flatnonzero(np.bincount(side, minlength=rows))
    place = np.zeros(rows, dtype=np.int64)
    place[used] = np.arange(used.size)
    return used, place
