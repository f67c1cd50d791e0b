"""What a list of pairs says of features: our exact figures, and the public ones beside them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.evaluation import FMR_TARGETS, judge_pairs
from marginface.evaluation.bootstrap import IdentityBootstrap, percentile_ends
from marginface.evaluation.curves import drawn_scores
from marginface.evaluation.insightface_folds import (
    flip_summed,
    grid_accuracy,
    grid_accuracy_draws,
    neighbouring_folds,
    squared_distances,
)
from marginface.evaluation.scores import FAILED
from marginface.protocols.pair_lists import ListedPairs

FOLDS = 10
WHY = (
    "insightface tries 400 squared distances, 0 to 3.99 in steps of 0.01, takes the first of the "
    "best and cuts the list into ten runs of neighbours; here every threshold is tried, the "
    "strictest of the best is taken, and published folds are kept"
)


def pair_record(
    pairs: ListedPairs,
    features: NDArray[np.floating[Any]],
    *,
    fmr_targets: Sequence[float] = FMR_TARGETS,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Judge features on a list of pairs and return the record, ready for JSON.

    Args:
        pairs: The list.
        features: One row for each of `pairs.pictures`, of any length, the mirrored face's feature
            added or not; a row of zeros is a face that could not be acquired.
        fmr_targets: FMR targets, fractions in (0, 1).
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap.

    Raises:
        ValueError: If the features are not finite or not one row per picture.
        UndefinedRateError: If no pair can be judged at all.
    """
    embeddings = unit_rows(features, len(pairs.pictures))
    gone: NDArray[np.bool_] = np.asarray(~embeddings.any(axis=1))
    failed = gone[pairs.first] | gone[pairs.second]
    first, second = embeddings[pairs.first], embeddings[pairs.second]
    scores = np.clip(np.einsum("pd,pd->p", first, second), -1, 1)
    people = _people(pairs)
    folds = neighbouring_folds(len(pairs), min(FOLDS, len(pairs)))
    judged = judge_pairs(
        scores,
        pairs.is_mated,
        first_identity=people[0],
        second_identity=people[1],
        folds=folds if pairs.folds is None else pairs.folds,
        fmr_targets=fmr_targets,
        seed=seed,
        resamples=resamples,
        failed=failed,
        failure_to_acquire=float(gone.mean()),
    ).as_dict()
    judged["bootstrap"]["over"] = "identities" if pairs.people else "pairs"
    record = {"protocol": pairs.name, **judged, "repeated_pairs": pairs.repeated}
    record |= drawn_scores(np.where(failed, FAILED, scores), pairs.is_mated)
    if len(pairs) >= FOLDS:
        # A failed pair is no distance of 2, which two empty rows would otherwise be told by.
        distances = np.where(failed, np.inf, squared_distances(first, second))
        record["insightface"], no_tar = _public(pairs, distances, people, judged)
        if no_tar:
            record["refused"]["published TAR at FAR 0.001"] = no_tar
    return record


def unit_rows(features: NDArray[np.floating[Any]], rows: int) -> NDArray[np.float64]:
    """Return features as unit rows in float64; rows of zeros stay zero.

    Raises:
        ValueError: If there are not `rows` of them, or one is not finite.
    """
    if features.ndim != 2 or len(features) != rows:
        raise ValueError(
            f"features must hold one row for each of {rows:,} pictures, got shape {features.shape}"
        )
    embeddings = flip_summed(features)
    if not np.isfinite(embeddings).all():
        row = int(np.argmin(np.isfinite(embeddings).all(axis=1)))
        raise ValueError(
            f"features must be finite, got NaN or infinity in row {row}; "
            "write zeros for a face that could not be acquired"
        )
    return embeddings


def _people(pairs: ListedPairs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the person on each side; unknown ones are their pair's own, which draws pairs."""
    if pairs.people is not None:
        codes = np.unique(pairs.people, return_inverse=True)[1]
        return codes[pairs.first], codes[pairs.second]
    own = 2 * np.arange(len(pairs))
    return own, np.where(pairs.is_mated, own, own + 1)


def _public(
    pairs: ListedPairs,
    distances: NDArray[np.float64],
    people: tuple[NDArray[np.int64], NDArray[np.int64]],
    judged: dict[str, Any],
) -> tuple[dict[str, Any], str]:
    """Return the public figures, and why TAR is not among them; nothing where it is."""
    public = grid_accuracy(distances, pairs.is_mated, folds=FOLDS)
    draws = judged["bootstrap"]
    bootstrap = IdentityBootstrap(*people, seed=draws["seed"], resamples=draws["resamples"])
    low, high = percentile_ends(grid_accuracy_draws(distances, bootstrap, folds=FOLDS))
    record = {**public.as_dict(), "low": low, "high": high, "why_it_differs": WHY}
    if "accuracy" in judged["metrics"]:
        record["exact_minus_public"] = judged["metrics"]["accuracy"]["value"] - public.mean
    return record, public.no_tar
