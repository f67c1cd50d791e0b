"""What searches say of features: every probe among gallery and distractors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.evaluation.identification import FPIR_TARGETS, RANKS, search_gallery
from marginface.evaluation.search_judge import judge_searches
from marginface.protocols.galleries import ListedGallery
from marginface.protocols.pair_figures import unit_rows

Features = NDArray[np.floating[Any]]


def gallery_record(
    lists: ListedGallery,
    features: Features,
    *,
    ranks: Sequence[int] = RANKS,
    fpir_targets: Sequence[float] = FPIR_TARGETS,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Search every probe among gallery and distractors; CMC, and FNIR where strangers are searched.

    Args:
        lists: From a reader.
        features: One row for each of `lists.pictures`; a row of zeros is a face not acquired.
        ranks: Of the CMC.
        fpir_targets: FPIR targets, fractions in (0, 1).
        seed: Seed of the bootstrap over the probes' people.
        resamples: Draws of the bootstrap; 0 leaves the intervals out.
    """
    rows = unit_rows(features, len(lists.pictures)).astype(np.float32)
    enrolled, searched = len(lists.gallery), len(lists.gallery) + len(lists.probes)
    # Distractors are people of their own, whom no probe shows.
    strangers = [f"\0{row}" for row in range(len(lists.distractors))]
    searches = search_gallery(
        rows[enrolled:searched],
        np.concatenate([rows[:enrolled], rows[searched:]]),
        probe_identity=lists.probe_people,
        gallery_identity=[*lists.gallery_people, *strangers],
    )
    judged = judge_searches(
        {"all": searches},
        lists.probe_people,
        ranks=ranks,
        fpir_targets=fpir_targets,
        seed=seed,
        resamples=resamples,
    )
    return {
        "protocol": f"{lists.name} 1:N",
        **judged,
        "probes": len(lists.probes),
        "mated_probes": int(searches.is_mated.sum()),
        "gallery": enrolled,
        "distractors": len(lists.distractors),
        "failure_to_acquire": float((~rows.any(axis=1)).mean()),
    }
