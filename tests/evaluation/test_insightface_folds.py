"""The public 10-fold: worked by hand, and against a loop over every threshold and fold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.evaluation.bootstrap import IdentityBootstrap, percentile_ends
from marginface.evaluation.folds import ten_fold_accuracy
from marginface.evaluation.insightface_folds import (
    flip_summed,
    grid_accuracy,
    grid_accuracy_draws,
    neighbouring_folds,
    squared_distances,
)
from tests.evaluation.cases import people_pairs, people_scores


def rates(threshold, distances, is_mated):
    """TAR, FAR and accuracy at one threshold, counted pair by pair."""
    accepted = [d < threshold for d in distances]
    hits = sum(a and m for a, m in zip(accepted, is_mated, strict=True))
    false = sum(a and not m for a, m in zip(accepted, is_mated, strict=True))
    mated, nonmated = sum(is_mated), len(is_mated) - sum(is_mated)
    return hits / mated, false / nonmated, (hits + nonmated - false) / len(is_mated)


def loop_twin(distances, is_mated, folds):
    """The published algorithm as its words say it: loops over folds and thresholds."""
    places = np.array_split(np.arange(len(distances)), folds)
    accuracies, tars, fars = [], [], []
    for fold in range(folds):
        here = places[fold]
        there = [p for other in range(folds) if other != fold for p in places[other]]
        train, flags = [distances[p] for p in there], [bool(is_mated[p]) for p in there]
        test = [distances[p] for p in here], [bool(is_mated[p]) for p in here]
        best, most = None, -1.0
        for threshold in np.arange(0, 4, 0.01):
            accuracy = rates(threshold, train, flags)[2]
            if accuracy > most:
                best, most = threshold, accuracy
        accuracies.append(rates(best, *test)[2])
        fine = np.arange(0, 4, 0.001)
        wrong = np.array([d for d, m in zip(train, flags, strict=True) if not m])
        line = (wrong[None] < fine[:, None]).sum(axis=1) / len(wrong)
        threshold = 0.0
        if max(line) >= 1e-3:
            # The last point not above the target, and the first above it.
            above = next((i for i, far in enumerate(line) if far > 1e-3), None)
            if above is None or line[above - 1] == 1e-3:
                threshold = fine[(above or len(fine)) - 1]
            else:
                low, high = line[above - 1], line[above]
                slope = (fine[above] - fine[above - 1]) / (high - low)
                threshold = slope * (1e-3 - low) + fine[above - 1]
        tar, far, _ = rates(threshold, *test)
        tars.append(tar)
        fars.append(far)
    return np.mean(accuracies), np.std(accuracies), np.mean(tars), np.std(tars), np.mean(fars)


def figures(record):
    return record.mean, record.std, record.tar, record.tar_std, record.far


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop_to_the_last_digit(seed):
    rng = np.random.default_rng(seed)
    is_mated = np.tile(np.repeat([True, False], 12), 5)
    distances = np.where(is_mated, 1.0, 1.8) + rng.normal(0, 0.4, is_mated.size)
    distances = np.round(distances.clip(0, 4), [9, 2, 1][seed])  # ties on and off the grid
    assert figures(grid_accuracy(distances, is_mated, folds=5)) == loop_twin(distances, is_mated, 5)


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.01, 0.5, 0.505, 1.0, 3.99, 4.0, 5.0]), st.booleans()),
        max_size=12,
    )
)
def test_equals_the_loop_with_heavy_ties(extra):
    # Both kinds stand in each fold; what hypothesis adds stands at the end.
    pairs = [(0.3, True), (1.2, False), (0.505, True), (0.5, False)] * 3 + extra
    distances, is_mated = (np.array(column) for column in zip(*pairs, strict=True))
    record = grid_accuracy(distances, is_mated, folds=2)
    assert figures(record) == loop_twin(distances, is_mated, 2)


def test_by_hand():
    # Fold 1 gets the first threshold above the other's 0.75, fold 2 the first above 0.5.
    record = grid_accuracy([0.5, 1.5, 0.75, 1.9], [1, 0, 1, 0], folds=2)
    assert record.thresholds == (0.76, 0.51)
    assert record.accuracies == (1.0, 0.5)  # 0.75 lies behind 0.51
    assert (record.mean, record.std) == (0.75, 0.25)


def test_a_distance_on_the_grid_is_not_below_it():
    # 0.5 < 0.5 is false, so the first accepting threshold is 0.51.
    record = grid_accuracy([0.5, 1.0, 0.5, 1.0], [1, 0, 1, 0], folds=2)
    assert record.thresholds == (0.51, 0.51)


def test_the_first_of_equal_thresholds_is_taken():
    # Everything from 0.21 to 2.0 parts the two kinds.
    record = grid_accuracy([0.2, 2.0, 0.2, 2.0], [1, 0, 1, 0], folds=2)
    assert record.thresholds == (0.21, 0.21)


def test_the_far_line_is_read_between_two_points():
    # One of two non-mated lies between 0.5 and 0.501: FAR goes from 0 to 1/2 within this step, and
    # reaches 0.001 at 0.5 + 0.001 / 500, before 0.50001.
    distances = [0.50001, 0.5004, 3.0, 0.500001, 0.5004, 3.0]
    record = grid_accuracy(distances, [1, 0, 0, 1, 0, 0], folds=2)
    assert (record.tar, record.tar_std, record.far) == (0.5, 0.5, 0.0)


def test_without_a_match_the_threshold_is_zero():
    record = grid_accuracy([0.1, 5.0, 0.1, 5.0], [1, 0, 1, 0], folds=2)
    assert (record.tar, record.far) == (0.0, 0.0)


def test_differs_from_the_exact_figure_by_the_step_of_the_grid():
    # No point of the grid lies between 0.503 and 0.506; every threshold is tried by the exact way.
    distances = np.array([0.503, 0.506, 0.503, 0.506])
    flags = [1, 0, 1, 0]
    assert grid_accuracy(distances, flags, folds=2).mean == 0.5
    assert ten_fold_accuracy(1 - distances / 2, flags, [0, 0, 1, 1]).mean == 1.0


def test_embeddings_and_distances():
    features = np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)
    np.testing.assert_array_equal(flip_summed(features), [[0.6, 0.8], [0.0, 0.0]])
    np.testing.assert_array_equal(flip_summed(features, features[::-1]), [[0.6, 0.8]] * 2)
    assert squared_distances([[1.0, 0.0], [1.0, 0.0]], [[-1.0, 0.0], [1.0, 0.0]]).tolist() == [4, 0]


def test_folds_are_runs_of_neighbours():
    assert neighbouring_folds(23, 4).tolist() == [0] * 6 + [1] * 6 + [2] * 6 + [3] * 5


def test_draws_with_weights_of_one_are_the_figure_itself():
    rng = np.random.default_rng(1)
    first, second, _ = people_pairs(rng)
    distances = 2 - people_scores(rng, first, second) / 4

    class Once(IdentityBootstrap):
        def blocks(self):
            yield np.ones((1, self.first.size))

    draws = grid_accuracy_draws(distances, Once(first, second, seed=0, resamples=1))
    assert draws.tolist() == [round(grid_accuracy(distances, first == second).mean, 12)]


def test_draws_weigh_pairs_as_copies_of_them():
    rng = np.random.default_rng(2)
    is_mated = np.tile([True, False], 20)
    first = np.arange(40)
    second = np.where(is_mated, first, (first + 1) % 40)
    distances = rng.uniform(0, 4, 40).round(1)
    # Two copies of each pair of one half of each fold, and none of the other.
    weights = np.tile([2.0, 2.0, 0.0, 0.0], 10)

    class Drawn(IdentityBootstrap):
        def blocks(self):
            yield weights[None]

    draws = grid_accuracy_draws(distances, Drawn(first, second, seed=0, resamples=1), folds=2)
    copies = np.repeat(np.arange(40), weights.astype(int))
    copied = grid_accuracy(distances[copies], is_mated[copies], folds=2)
    assert draws[0] == pytest.approx(copied.mean)


def test_the_interval_holds_the_figure():
    rng = np.random.default_rng(3)
    first, second, _ = people_pairs(rng, identities=60, mated=30, nonmated=30)
    distances = 2 - people_scores(rng, first, second) / 4
    draws = grid_accuracy_draws(distances, IdentityBootstrap(first, second, seed=0, resamples=200))
    low, high = percentile_ends(draws)
    assert low < grid_accuracy(distances, first == second).mean < high


@pytest.mark.parametrize(
    ("distances", "flags", "folds", "message"),
    [
        ([0.1, np.nan], [1, 0], 2, "1 NaN or negative values of 2"),
        ([0.1, -0.1], [1, 0], 2, "1 NaN or negative"),
        ([[0.1]], [1], 2, r"shape \(pairs,\)"),
        ([0.1, 0.2], [1, 0], 3, "between 2 and the 2 pairs, got 3"),
    ],
)
def test_bad_input(distances, flags, folds, message):
    with pytest.raises(ValueError, match=message):
        grid_accuracy(distances, flags, folds=folds)


def test_a_fold_of_one_kind_has_an_accuracy_and_no_tar():
    # Fold 1 is judged at 0.31, which parts fold 2; fold 2 at 0.21, where all of fold 1 matches.
    record = grid_accuracy([0.1, 0.2, 0.3, 0.4], [1, 1, 1, 0], folds=2)
    assert record.accuracies == (1.0, 0.5)
    assert (record.tar, record.tar_std, record.far) == (None, None, None)
    assert "non-mated pairs, got none in fold 1 of 2" in record.no_tar
    assert sorted(record.as_dict()) == ["accuracies", "mean", "std", "thresholds"]
