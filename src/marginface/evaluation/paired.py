"""Two models on the same pairs: how far one lies above the other, and whether that is shown.

Both are measured under the same draws of people (and of runs), and the difference is taken within
each draw. What is hard for both cancels out, so a difference can be shown where the two intervals
overlap. A difference is shown when its 95 % interval leaves zero out; over many losses and metrics
one in twenty is shown by chance alone, and nothing here corrects for that.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from marginface.errors import UndefinedRateError
from marginface.evaluation.bootstrap import percentile_ends
from marginface.evaluation.judge import FMR_TARGETS, judge_pairs
from marginface.evaluation.records import PairedDifference, PairRecord
from marginface.evaluation.scores import check_flags


def compare_pairs(
    scores_a: ArrayLike | Sequence[ArrayLike],
    scores_b: ArrayLike | Sequence[ArrayLike],
    is_mated: ArrayLike,
    *,
    first_identity: ArrayLike,
    second_identity: ArrayLike,
    folds: ArrayLike | None = None,
    fmr_targets: Sequence[float] = FMR_TARGETS,
    seed: int = 0,
    resamples: int = 1000,
    failed: ArrayLike | None = None,
    failed_b: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> dict[str, PairedDifference]:
    """Measure how far model a lies above model b on the same pairs, metric by metric.

    Both are judged under the same draws of people, so what is hard for both cancels out. Whoever
    holds the two records already calls `compare_records`, which costs nothing.

    Args:
        scores_a: Scores of the one, shape (pairs,) or (runs, pairs).
        scores_b: Scores of the other (the baseline), of the same pairs.
        is_mated: As in `judge_pairs`, and so are all others.
        first_identity: The person on each first picture.
        second_identity: The person on each second picture.
        folds: The fold of each pair.
        fmr_targets: FMR targets.
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap.
        failed: Failed pairs of a, and of b too unless `failed_b` is given.
        failed_b: Failed pairs of b.
        where: Which pairs to measure on, shape (pairs,); thresholds are those of these pairs. For
            groups at one common threshold see `compare_groups`.
    """
    flags = np.asarray(is_mated)
    kept = (
        np.ones(flags.size, np.bool_) if where is None else check_flags("where", where, flags.size)
    )

    def judge(scores: ArrayLike | Sequence[ArrayLike], mask: ArrayLike | None) -> PairRecord:
        return judge_pairs(
            np.asarray(scores)[..., kept],
            flags[kept],
            first_identity=np.asarray(first_identity)[kept],
            second_identity=np.asarray(second_identity)[kept],
            folds=None if folds is None else np.asarray(folds)[kept],
            fmr_targets=fmr_targets,
            seed=seed,
            resamples=resamples,
            failed=None if mask is None else np.asarray(mask)[..., kept],
        )

    return compare_records(
        judge(scores_a, failed), judge(scores_b, failed if failed_b is None else failed_b)
    )


def compare_records(a: PairRecord, b: PairRecord) -> dict[str, PairedDifference]:
    """Return a minus b for every metric both have, with the interval under the shared draws.

    A metric that no draw can measure of both is left out.

    Raises:
        ValueError: If the records rest on other pairs, people, folds, seeds or draws.
    """
    if a.protocol != b.protocol:
        raise ValueError(
            "records must rest on the same pairs, people, folds, seed and resamples, got protocols "
            f"{a.protocol[:8]} and {b.protocol[:8]}"
        )
    differences = {}
    for name in a.metrics:
        if name in b.metrics:
            try:
                low, high = percentile_ends(a.drawn[name] - b.drawn[name])
            except UndefinedRateError:
                continue
            value = a.metrics[name].value - b.metrics[name].value
            differences[name] = PairedDifference(value=value, low=low, high=high)
    return differences
