"""Several models in the groups of one table, from the scores kept beside them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from marginface.errors import unknown_name
from marginface.evaluation import GroupRecord, compare_groups, judge_groups
from marginface.recognition import PairGroups, PairScores


def judge_models_in_groups(
    scored: Mapping[str, Sequence[PairScores]],
    groups: PairGroups,
    *,
    baseline: str,
    target_fmr: float = 0.01,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Measure every model in every group, and how far each lies above the baseline there.

    Each model (each run of it) has one threshold for all groups, fixed on all pairs at the FMR
    target. All models see the same draws of people, and differences are taken within the draws.

    Args:
        scored: The runs of each model on one list of pairs, from `read_scores` or `score_pairs`.
        groups: Of the pictures of that list, from `pair_groups`.
        baseline: The model the others are compared with.
        target_fmr: Where the thresholds are fixed, a fraction in (0, 1).
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap.

    Returns:
        `column`, `baseline`, and by model its record and its `difference` by group and rate; ready
        for JSON.

    Raises:
        ValueError: If the baseline is no model.
        UndefinedRateError: If there are too few non-mated pairs for the target.
    """
    if baseline not in scored:
        raise unknown_name("baseline", baseline, scored)
    records = {
        name: _judge(runs, groups, target_fmr, seed, resamples) for name, runs in scored.items()
    }
    models: dict[str, Any] = {}
    for name, record in records.items():
        models[name] = record.as_dict()
        if name != baseline:
            differences = compare_groups(record, records[baseline])
            models[name]["difference"] = {
                group: {kind: found.as_dict() for kind, found in kinds.items()}
                for group, kinds in differences.items()
            }
    return {"column": groups.column, "bins": groups.bins, "baseline": baseline, "models": models}


def _judge(
    runs: Sequence[PairScores], groups: PairGroups, target_fmr: float, seed: int, resamples: int
) -> GroupRecord:
    one = runs[0]
    return judge_groups(
        np.stack([run.scores for run in runs]),
        one.is_mated,
        first_identity=one.first_identity,
        second_identity=one.second_identity,
        first_group=groups.first,
        second_group=groups.second,
        order=groups.order,
        target_fmr=target_fmr,
        seed=seed,
        resamples=resamples,
        failed=np.stack([run.failed for run in runs]),
    )
