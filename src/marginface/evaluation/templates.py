"""Templates fused from several pictures, and the scores of many template pairs.

    media m of template T:   f_m = mean of w_i · f_i over the faces i of T from m
    template T:              f_T = Σ f_m over its media, then divided by its length
    score(T, U)            = f_T · f_U

A video's hundred frames thus weigh as much as one photograph. Weighting: with `keeps_norms` the
feature's own length weighs the face (MagFace and κ say more of a face with a longer feature);
`face_weights` multiplies by anything else, a detector's score say. Weights multiply and are not
divided by their sum, so a medium of good faces also counts more.

Faces of a few templates stand in a block, and one small matrix product pools them; the result stays
within 1e-6 of float64 for features of up to a few thousand dimensions.

Source: Crosswhite et al., "Template adaptation for face verification and identification", FG 2017;
    the weighting as in insightface's IJB evaluation.
Differs: a template all of whose features are 0 (no face was acquired) stays 0 and is marked failed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from marginface.evaluation.listed_pairs import cosines_of_codes, pair_cosines
from marginface.evaluation.scores import FAILED

__all__ = ["Templates", "pair_cosines", "pool_templates", "template_scores"]

# Faces and templates of one pooling product: the block of faces stays in a core's cache.
FACES = 128
TEMPLATES = 16
ROWS = 1 << 14
# Ids count as dense, and are looked up in a table, while it has at most so many cells an id.
CELLS = 16

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
        table = self._table()
        if table is not None and _are_cells(wanted, table):
            return table[wanted]
        places = np.searchsorted(self.ids, wanted).clip(max=self.ids.size - 1)
        absent = np.flatnonzero(self.ids[places] != wanted)
        if absent.size:
            raise ValueError(
                f"ids must name templates with faces, got {wanted[absent[0]]} without any "
                f"({absent.size:,} such)"
            )
        return places

    def _table(self) -> Codes | None:
        """Return the row of every id from 0, -1 where there is none; None if ids are sparse."""
        if self.ids[0] < 0 or self.ids[-1] >= CELLS * self.ids.size:
            return None
        table = np.full(self.ids[-1] + 1, -1)
        table[self.ids] = np.arange(self.ids.size)
        return table


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


def template_scores(templates: Templates, first: ArrayLike, second: ArrayLike) -> Rows:
    """Return the score of each listed pair of template ids; -inf where one of them failed.

    Args:
        templates: From `pool_templates`.
        first: Template id of each pair's first side, shape (pairs,).
        second: Template id of the second, shape (pairs,).

    Raises:
        ValueError: If an id has no template.
    """
    sides = [np.asarray(first), np.asarray(second)]
    row_of = templates._table()
    if row_of is None or not all(_are_cells(side, row_of) for side in sides):
        sides = [templates.rows(side) for side in sides]
        row_of = np.arange(templates.ids.size)
    sides = [side.astype(np.int64, copy=False) for side in sides]
    scores = cosines_of_codes(templates.embeddings, row_of, *sides)
    if templates.failed.any():
        has_failed = templates.failed[row_of]
        scores[has_failed[sides[0]] | has_failed[sides[1]]] = FAILED
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


def _are_cells(ids: NDArray[Any], table: Codes) -> bool:
    """Return whether every id has a row in the table."""
    if ids.dtype.kind not in "iu" or ids.size == 0 or ids.min() < 0 or ids.max() >= table.size:
        return False
    return bool((table[np.flatnonzero(np.bincount(ids.ravel()))] >= 0).all())
