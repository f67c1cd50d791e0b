"""Rates and intervals, against scikit-learn and against the plain loop, on the same scores.

`rates`: FNMR at FMR 0.001 and AUC; the public way is scikit-learn's `roc_curve` and
`roc_auc_score`. `folds`: LFW's ten folds; the public way tries a grid of 400 thresholds per fold,
so it is also less exact. `bootstrap`: all seven metrics, resampled over people; the plain way
copies each pair as often as its people were drawn and measures the copies. `judge` is the whole
front door at 1,000 resamples, without a peer.
"""

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from harness import RESULTS, Row, measure, rows_of, show, write_rows
from marginface.evaluation import (
    auc,
    d_prime,
    eer,
    fnmr_at_fmr,
    judge_pairs,
    ten_fold_accuracy,
)
from marginface.evaluation.bootstrap import IdentityBootstrap
from marginface.evaluation.folds import best_threshold
from marginface.evaluation.ranked import RankedPairs

Scores = NDArray[np.float64]
TARGETS = {"fnmr_at_fmr_0.001": 0.001, "fnmr_at_fmr_0.01": 0.01, "fnmr_at_fmr_0.1": 0.1}
DRAWS = 20  # of the plain loop, which needs a second for them


def people(pairs: int) -> tuple[Scores, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Scores, both people and folds of a balanced list of pairs, nine people to a fold."""
    rng = np.random.default_rng(0)
    fold = np.arange(pairs) % 10
    first = fold * 9 + rng.integers(0, 9, pairs)
    other = fold * 9 + (first - fold * 9 + rng.integers(1, 9, pairs)) % 9
    is_mated = (np.arange(pairs) // 10) % 2 == 0
    scores = np.where(is_mated, 2.0, 0.0) + rng.normal(size=pairs)
    return scores, first, np.where(is_mated, first, other), fold


def public_rates(scores: Scores, is_mated: NDArray[np.bool_]) -> tuple[float, float]:
    fmr, hit, _ = roc_curve(is_mated, scores, drop_intermediate=False)
    return 1 - float(hit[fmr <= 0.001].max()), float(roc_auc_score(is_mated, scores))


def our_rates(scores: Scores, is_mated: NDArray[np.bool_]) -> tuple[float, float]:
    mated, nonmated = scores[is_mated], scores[~is_mated]
    return fnmr_at_fmr(mated, nonmated, target_fmr=0.001).fnmr, auc(mated, nonmated)


def grid_folds(scores: Scores, is_mated: NDArray[np.bool_], folds: NDArray[np.int64]) -> float:
    grid = np.linspace(scores.min(), scores.max(), 400)
    accuracies = []
    for fold in range(10):
        here = folds == fold
        right = [np.mean((scores[~here] >= t) == is_mated[~here]) for t in grid]
        threshold = grid[int(np.argmax(right))]
        accuracies.append(np.mean((scores[here] >= threshold) == is_mated[here]))
    return float(np.mean(accuracies))


def copied_bootstrap(
    scores: Scores, bootstrap: IdentityBootstrap, folds: NDArray[np.int64]
) -> Scores:
    """Each draw measured on copies, one after the other; accuracy by the plain pooled rule."""
    drawn = []
    for weights in np.concatenate(list(bootstrap.blocks())):
        copies = np.repeat(np.arange(scores.size), weights.astype(np.int64))
        some, flags, fold = scores[copies], bootstrap.is_mated[copies], folds[copies]
        mated, nonmated = some[flags], some[~flags]
        rates = [
            fnmr_at_fmr(mated, nonmated, target_fmr=target).fnmr for target in TARGETS.values()
        ]
        right = 0
        for code in range(10):
            here = fold == code
            threshold = best_threshold(some[~here], flags[~here])
            right += np.sum((some[here] >= threshold) == flags[here])
        curves = [eer(mated, nonmated), auc(mated, nonmated), d_prime(mated, nonmated)]
        drawn.append([*curves, *rates, right / some.size])
    return np.array(drawn)


def ranked_bootstrap(
    scores: Scores, bootstrap: IdentityBootstrap, folds: NDArray[np.int64]
) -> Scores:
    ranked = RankedPairs(scores, bootstrap.is_mated, folds)
    blocks = [ranked.measure(weights, TARGETS) for weights in bootstrap.blocks()]
    return np.stack(
        [np.concatenate([block[name] for block in blocks]) for name in blocks[0]], axis=1
    )


def check_equal() -> None:
    scores, first, second, folds = people(6000)
    is_mated = first == second
    np.testing.assert_allclose(our_rates(scores, is_mated), public_rates(scores, is_mated))
    exact = ten_fold_accuracy(scores, is_mated, folds).mean
    assert abs(exact - grid_folds(scores, is_mated, folds)) < 0.01
    bootstrap = IdentityBootstrap(first, second, seed=0, resamples=DRAWS)
    ours, plain = (f(scores, bootstrap, folds) for f in (ranked_bootstrap, copied_bootstrap))
    # The last column is accuracy, where ours keeps the share of mated pairs and the copies do not.
    np.testing.assert_allclose(ours[:, :6], plain[:, :6], atol=1e-9)
    assert np.abs(ours[:, 6] - plain[:, 6]).max() < 0.02


def measure_all(repeats: int) -> list[Row]:
    rows: list[Row] = []
    for pairs in (6_000, 1_000_000):
        scores, first, second, _ = people(pairs)
        is_mated = first == second
        samples = measure(
            {
                "marginface": lambda s=scores, m=is_mated: our_rates(s, m),
                "scikit-learn": lambda s=scores, m=is_mated: public_rates(s, m),
            },
            repeats=repeats,
        )
        rows += rows_of(samples, name="rates", mode="full", axis="pairs", value=str(pairs))
    scores, first, second, folds = people(6_000)
    is_mated = first == second
    samples = measure(
        {
            "marginface (exact)": lambda: ten_fold_accuracy(scores, is_mated, folds),
            "grid of 400": lambda: grid_folds(scores, is_mated, folds),
        },
        repeats=repeats,
    )
    rows += rows_of(samples, name="folds", mode="full", axis="pairs", value="6000")
    scores, first, second, folds = people(4_000)
    bootstrap = IdentityBootstrap(first, second, seed=0, resamples=DRAWS)
    samples = measure(
        {
            "marginface": lambda: ranked_bootstrap(scores, bootstrap, folds),
            "copies, one by one": lambda: copied_bootstrap(scores, bootstrap, folds),
        },
        repeats=repeats,
    )
    rows += rows_of(samples, name="bootstrap", mode="full", axis="resamples", value=str(DRAWS))
    samples = measure(
        {
            "marginface": lambda: judge_pairs(
                scores, first == second, folds=folds, first_identity=first, second_identity=second
            )
        },
        repeats=repeats,
    )
    return rows + rows_of(samples, name="judge", mode="full", axis="resamples", value="1000")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", default=str(RESULTS / "evaluation_cpu_202611.csv"))
    options = parser.parse_args()
    check_equal()
    rows = measure_all(options.repeats)
    show(rows)
    write_rows(type(RESULTS)(options.out), rows)


if __name__ == "__main__":
    main()
