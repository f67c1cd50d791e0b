"""From scores to a record: every metric of one-to-one verification with its interval.

Several runs of a model (say of several training seeds) are given as several score vectors: the
value is the mean over the runs, and each resample of the bootstrap averages runs drawn with
replacement, so that the luck of a seed is part of the interval. With one run the interval speaks
about people only.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import UndefinedRateError
from marginface.evaluation.bootstrap import (
    IdentityBootstrap,
    draw_runs,
    percentile_ends,
    unseen_rate,
)
from marginface.evaluation.folds import check_folds, ten_fold_accuracy
from marginface.evaluation.ranked import RankedPairs
from marginface.evaluation.records import (
    Interval,
    PairRecord,
    fnmr_name,
)
from marginface.evaluation.scores import (
    check_column,
    check_flags,
    split_scores,
    with_failures,
)
from marginface.evaluation.verification import (
    RULE_OF_30,
    auc,
    d_prime,
    eer,
    fnmr_at_fmr,
    least_pairs,
)

FMR_TARGETS = (1e-3, 1e-2, 1e-1)
# Below this many people the percentile interval is itself a rough guess.
FEW_IDENTITIES = 20

Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]
Codes = NDArray[np.int64]


def judge_pairs(
    scores: ArrayLike | Sequence[ArrayLike],
    is_mated: ArrayLike,
    *,
    first_identity: ArrayLike,
    second_identity: ArrayLike,
    folds: ArrayLike | None = None,
    fmr_targets: Sequence[float] = FMR_TARGETS,
    seed: int = 0,
    resamples: int = 1000,
    failed: ArrayLike | None = None,
    failure_to_acquire: float | None = None,
) -> PairRecord:
    """Measure accuracy, EER, AUC, d' and FNMR at each FMR target, with 95 % intervals.

    What the pairs cannot support is not in `metrics` but in `refused`, with the reason.

    Args:
        scores: Higher is more alike; shape (pairs,), or (runs, pairs) for several runs.
        is_mated: True for same-person pairs, shape (pairs,).
        first_identity: The person on each first picture, any names or numbers, shape (pairs,).
        second_identity: The person on each second picture, shape (pairs,).
        folds: The fold of each pair, shape (pairs,); None leaves accuracy out.
        fmr_targets: FMR targets, fractions in (0, 1).
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap.
        failed: True where a picture of the pair gave no face, shape (pairs,) or (runs, pairs).
            Such a pair counts as matching at no threshold; its score is ignored.
        failure_to_acquire: Share of pictures that gave no face, where the caller knows it; else
            the share of failed pairs is stated.

    Raises:
        ValueError: If shapes differ, scores are not finite, or is_mated contradicts the identities.
        UndefinedRateError: If there is no mated or no non-mated pair.
    """
    runs = with_failures("scores", scores, failed)
    pairs = runs.shape[1]
    flags = check_flags("is_mated", is_mated, pairs)
    people = check_people(flags, first_identity, second_identity)
    split_scores(runs[0], flags)
    refused = {"accuracy": "accuracy needs folds, got none"} if folds is None else {}
    codes = _folds_or_reason(folds, pairs, refused)
    run_values = _run_values(runs, flags, codes, fmr_targets, refused)
    bootstrap = IdentityBootstrap(*people, seed=seed, resamples=resamples)
    drawn = _draw_metrics(runs, flags, codes, bootstrap, fmr_targets)
    is_failed = ~np.isfinite(runs)
    identities = bootstrap.identities
    metrics = _intervals(run_values, drawn, identities, refused)
    return PairRecord(
        metrics=metrics,
        refused=refused,
        cautions=_cautions(run_values, fmr_targets, int((~flags).sum()), identities),
        fold_std=_fold_std(runs, flags, codes),
        failure_to_acquire=(
            float(is_failed.mean()) if failure_to_acquire is None else failure_to_acquire
        ),
        pairs={
            "mated": int(flags.sum()),
            "nonmated": int((~flags).sum()),
            "failed_mated": int((is_failed[0] & flags).sum()),
            "failed_nonmated": int((is_failed[0] & ~flags).sum()),
        },
        identities=identities,
        run_values={name: tuple(run_values[name]) for name in metrics},
        seed=seed,
        resamples=resamples,
        drawn={name: drawn[name] for name in metrics},
        protocol=_protocol(flags, people, codes, seed, resamples),
    )


def check_people(flags: Flags, first: ArrayLike, second: ArrayLike) -> tuple[Codes, Codes]:
    """Return the people of both sides as codes from 0, one code a person, shape (pairs,) each.

    Raises:
        ValueError: If a shape is another, or a flag contradicts the two identities of its pair.
    """
    # Both columns are coded together, so that one name has one code.
    columns = [np.asarray(first), np.asarray(second)]
    for name, column in zip(("first_identity", "second_identity"), columns, strict=True):
        if column.shape != flags.shape:
            raise ValueError(f"{name} must have shape {flags.shape}, got {column.shape}")
    both = np.concatenate(columns)
    codes = check_column("identities", both, both.size)
    one, other = codes[: flags.size], codes[flags.size :]
    wrong = np.flatnonzero((one == other) != flags)
    if wrong.size:
        pair = wrong[0]
        raise ValueError(
            f"is_mated must say whether both identities are one, got {bool(flags[pair])} for "
            f"{columns[0][pair]} and {columns[1][pair]} in pair {pair}"
            f" ({wrong.size:,} such pairs)"
        )
    return one, other


def _folds_or_reason(folds: ArrayLike | None, pairs: int, refused: dict[str, str]) -> Codes | None:
    if folds is None:
        return None
    try:
        return check_folds(folds, pairs)
    except UndefinedRateError as reason:
        refused["accuracy"] = str(reason)
        return None


def _run_values(
    runs: Scores,
    flags: Flags,
    folds: Codes | None,
    fmr_targets: Sequence[float],
    refused: dict[str, str],
) -> dict[str, list[float]]:
    """Measure each metric on each run; a metric refused by one run is refused as a whole."""
    values: dict[str, list[float]] = {}
    if folds is not None:
        values["accuracy"] = [ten_fold_accuracy(run, flags, folds).mean for run in runs]
    metrics: dict[str, Callable[[Scores, Scores], float]] = {
        "eer": eer,
        "auc": auc,
        "d_prime": d_prime,
        **{fnmr_name(target): partial(_fnmr, target_fmr=target) for target in fmr_targets},
    }
    for name, metric in metrics.items():
        try:
            values[name] = [metric(run[flags], run[~flags]) for run in runs]
        except UndefinedRateError as reason:
            refused[name] = str(reason)
    return values


def _fnmr(mated: Scores, nonmated: Scores, *, target_fmr: float) -> float:
    return fnmr_at_fmr(mated, nonmated, target_fmr=target_fmr).fnmr


def _draw_metrics(
    runs: Scores,
    flags: Flags,
    folds: Codes | None,
    bootstrap: IdentityBootstrap,
    fmr_targets: Sequence[float],
) -> dict[str, Scores]:
    targets = {fnmr_name(target): target for target in fmr_targets}
    ranked = [RankedPairs(run, flags, folds) for run in runs]
    blocks = [[one.measure(weights, targets) for one in ranked] for weights in bootstrap.blocks()]
    chosen = draw_runs(len(runs), seed=bootstrap.seed, resamples=bootstrap.resamples)
    drawn = {}
    for name in blocks[0][0]:
        by_run = np.concatenate(
            [np.stack([run[name] for run in block], axis=1) for block in blocks]
        )
        drawn[name] = np.take_along_axis(by_run, chosen, axis=1).mean(axis=1)
    return drawn


def _intervals(
    run_values: dict[str, list[float]],
    drawn: dict[str, Scores],
    identities: int,
    refused: dict[str, str],
) -> dict[str, Interval]:
    """Return each metric with its interval; one no resample can measure is refused."""
    metrics = {}
    for name, values in run_values.items():
        try:
            metrics[name] = _interval(name, values, drawn[name], identities)
        except UndefinedRateError as reason:
            refused[name] = str(reason)
    return metrics


def _interval(name: str, values: list[float], drawn: Scores, identities: int) -> Interval:
    value = float(np.mean(values))
    low, high = percentile_ends(drawn)
    if name != "d_prime" and low == high == value and value in (0.0, 1.0):
        # Nobody erred, so no draw can: say how often an error could still have stayed unseen.
        unseen = unseen_rate(identities)
        low, high = (0.0, unseen) if value == 0 else (1 - unseen, 1.0)
    return Interval(value=value, low=low, high=high)


def _cautions(
    values: dict[str, list[float]], fmr_targets: Sequence[float], nonmated: int, identities: int
) -> dict[str, str]:
    cautions = {}
    for target in fmr_targets:
        allowed = math.floor(target * nonmated + 1e-9)
        if fnmr_name(target) in values and allowed < RULE_OF_30:
            needed = least_pairs(target, errors=RULE_OF_30)
            matches = "match" if allowed == 1 else "matches"
            cautions[fnmr_name(target)] = (
                f"the threshold rests on {allowed} false {matches} of {nonmated:,} non-mated "
                f"pairs; the rule of 30 asks for {needed:,} pairs"
            )
    if identities < FEW_IDENTITIES:
        cautions["intervals"] = f"drawn from {identities} identities only; take them as rough"
    return cautions


def _fold_std(runs: Scores, flags: Flags, folds: Codes | None) -> float | None:
    if folds is None:
        return None
    return float(np.mean([ten_fold_accuracy(run, flags, folds).std for run in runs]))


def _protocol(
    flags: Flags, people: tuple[Codes, Codes], folds: Codes | None, seed: int, resamples: int
) -> str:
    digest = hashlib.sha256(f"{seed} {resamples} {folds is None}".encode())
    for part in (flags, *people, *([] if folds is None else [folds])):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
