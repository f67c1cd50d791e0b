"""What IJB-B or IJB-C says of features: 1:1 and 1:N, exact, with the public figures beside them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.evaluation.curves import drawn_scores
from marginface.evaluation.identification import FPIR_TARGETS, older_point, search_gallery
from marginface.evaluation.many_pairs import IJB_TARGETS, judge_many_pairs, roc_tar
from marginface.evaluation.search_judge import judge_searches
from marginface.evaluation.templates import Templates, pair_cosines, pool_templates
from marginface.protocols.ijb import IjbFaces, IjbPairs, IjbSearch, people_of_templates

WEIGHTINGS = ("uniform", "norm", "detector", "norm+detector")
WHY = (
    "published tables take the point of a thinned ROC curve whose FAR is nearest to the target, "
    "also above it; here the FMR never exceeds the target"
)

Features = NDArray[np.floating[Any]]


def fuse(
    faces: IjbFaces, features: Features, *, weighting: str = "norm+detector", exact: bool = False
) -> Templates:
    """Fuse features into templates under a named weighting.

    Args:
        faces: From `read_faces`.
        features: One row per face, of any length; the length is the weight under "norm".
        weighting: One of `WEIGHTINGS`; the last is what published tables use.
        exact: In float64, for the digits of the public code.

    Raises:
        ValueError: If the features do not fit, or "detector" is asked for without its scores.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting must be one of {', '.join(WEIGHTINGS)}; got {weighting!r}")
    if len(features) != len(faces.pictures):
        raise ValueError(
            f"features must hold one row for each of {len(faces.pictures):,} faces, "
            f"got shape {features.shape}"
        )
    scores = faces.detector_scores if "detector" in weighting else None
    if "detector" in weighting and scores is None:
        raise ValueError(
            f"weighting {weighting} needs {faces.name}_name_5pts_score.txt, got none; "
            "take norm or uniform"
        )
    return pool_templates(
        features,
        faces.templates,
        faces.media,
        keeps_norms="norm" in weighting,
        face_weights=scores,
        dtype=np.float64 if exact else np.float32,
    )


def verification_record(
    faces: IjbFaces,
    pairs: IjbPairs,
    templates: Templates,
    *,
    search: IjbSearch | None = None,
    fmr_targets: Sequence[float] = IJB_TARGETS,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Judge the template pairs: FNMR at each FMR with intervals, and the public TAR at FAR.

    Args:
        faces: From `read_faces`.
        pairs: From `read_pairs`.
        templates: From `fuse`.
        search: Who the templates show, where known.
        fmr_targets: FMR targets, fractions in (0, 1).
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap.
    """
    rows = [templates.rows(side) for side in (pairs.first, pairs.second)]
    people = people_of_templates(pairs, search, faces)
    scores = pair_cosines(templates.embeddings, *rows)
    # The public code scores a template without a face 0, and so do its digits here.
    public = roc_tar(scores[pairs.is_mated], scores[~pairs.is_mated], fmr_targets)
    if templates.failed.any():
        scores[templates.failed[rows[0]] | templates.failed[rows[1]]] = -np.inf
    judged = judge_many_pairs(
        scores,
        pairs.is_mated,
        first_identity=people[rows[0]],
        second_identity=people[rows[1]],
        fmr_targets=fmr_targets,
        seed=seed,
        resamples=resamples,
        failure_to_acquire=float(templates.failed.mean()),
    )
    return {
        "protocol": f"{faces.name} 1:1",
        **judged.as_dict(),
        **drawn_scores(scores, pairs.is_mated),
        "templates": int(templates.ids.size),
        "faces": len(faces.pictures),
        "insightface": {
            "tar_at_far": [
                {"target": target, "tar": tar, "far": far} for target, (tar, far) in public.items()
            ],
            "why_it_differs": WHY,
        },
    }


def identification_record(
    faces: IjbFaces,
    search: IjbSearch,
    templates: Templates,
    *,
    fpir_targets: Sequence[float] = FPIR_TARGETS,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Judge the searches: CMC, and FNIR at each FPIR under the three named rules.

    Under "iso" and "newer" each probe is searched in either gallery, enrolled in one of them; the
    figure is the mean of the two. Under "older" both are one gallery.

    Args:
        faces: From `read_faces`.
        search: From `read_search`.
        templates: From `fuse`.
        fpir_targets: FPIR targets, fractions in (0, 1).
        seed: Seed of the bootstrap over the probes' persons.
        resamples: Draws of the bootstrap.
    """
    probes, person = templates.embeddings[templates.rows(search.probes[0])], search.probes[1]
    searches = {
        key: search_gallery(
            probes,
            templates.embeddings[templates.rows(ids)],
            probe_identity=person,
            gallery_identity=people,
        )
        for key, (ids, people) in search.galleries.items()
    }
    judged = judge_searches(
        searches, person, fpir_targets=fpir_targets, seed=seed, resamples=resamples
    )
    try:
        together = [np.concatenate(parts) for parts in zip(*search.galleries.values(), strict=True)]
        older = older_point(
            probes,
            templates.embeddings[templates.rows(together[0])],
            fpir_targets,
            probe_identity=person,
            gallery_identity=together[1],
        )
        points = [{"gallery": "both", **point.as_dict()} for point in older.values()]
        judged["fnir_at_fpir"] += points
    except ValueError as reason:
        judged["refused"]["rule older"] = str(reason)
    return {
        "protocol": f"{faces.name} 1:N",
        **judged,
        "probes": len(person),
        "galleries": {key: one.gallery for key, one in searches.items()},
    }
