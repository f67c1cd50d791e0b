import numpy as np
import pytest

from marginface.errors import UndefinedRateError
from marginface.evaluation.bootstrap import (
    IdentityBootstrap,
    draw_runs,
    percentile_ends,
    unseen_rate,
)

FIRST = np.array([0, 0, 1, 2, 2])
SECOND = np.array([0, 1, 1, 1, 2])


def weights_of(first, second, **options):
    bootstrap = IdentityBootstrap(first, second, **options)
    return np.concatenate(list(bootstrap.blocks()))


def test_weights_are_products_of_the_counts():
    weights = weights_of(FIRST, SECOND, seed=0, resamples=200)
    assert weights.shape == (200, 5)
    counts = weights[:, [0, 2, 4]]  # the mated pair of each person shows how often it was drawn
    assert np.all(counts.sum(axis=1) == 3)
    np.testing.assert_array_equal(weights[:, 1], counts[:, 0] * counts[:, 1])
    np.testing.assert_array_equal(weights[:, 3], counts[:, 2] * counts[:, 1])


def test_every_draw_holds_both_kinds():
    # Two people are both drawn in half of the draws only.
    first, second = np.array([0, 0]), np.array([0, 1])
    weights = weights_of(first, second, seed=1, resamples=500)
    assert weights.shape == (500, 2)
    assert np.all(weights > 0)


def test_counts_have_the_mean_and_spread_of_drawing_with_replacement():
    people = np.arange(50)
    first, second = np.append(people, 0), np.append(people, 1)
    counts = weights_of(first, second, seed=2, resamples=4000)[:, 2:50]
    # The draws that hold both persons 0 and 1 leave 48 draws for 50 people, about.
    assert counts.mean() == pytest.approx(0.985, abs=0.02)
    assert counts.var() == pytest.approx(0.97, abs=0.05)


def test_the_same_seed_draws_the_same_and_another_another():
    bootstrap = IdentityBootstrap(FIRST, SECOND, seed=3, resamples=20)
    once, again = (np.concatenate(list(bootstrap.blocks())) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert np.any(once != weights_of(FIRST, SECOND, seed=4, resamples=20))


def test_hopeless_lists_are_refused_and_do_not_hang():
    # Of 12 people, the one mated and the one non-mated pair need five certain people... of many.
    first = np.append(np.arange(0, 40, 2), 40)
    second = np.append(np.arange(1, 41, 2), 40)
    bootstrap = IdentityBootstrap(first[-1:], second[-1:], seed=0, resamples=5)
    with pytest.raises(UndefinedRateError, match="resampling 41 identities hardly ever keeps"):
        list(bootstrap.blocks())


def test_resamples_at_least_one():
    with pytest.raises(ValueError, match="resamples must be at least 1, got 0"):
        IdentityBootstrap(FIRST, SECOND, seed=0, resamples=0)


def test_runs_are_drawn_with_replacement():
    drawn = draw_runs(2, seed=0, resamples=4000)
    assert drawn.shape == (4000, 2)
    share = [np.mean(drawn.sum(axis=1) == total) for total in (0, 1, 2)]
    assert share == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert np.all(draw_runs(1, seed=0, resamples=9) == 0)


def test_percentiles_leave_nan_out():
    drawn = np.append(np.arange(0, 101.0), np.nan)
    assert percentile_ends(drawn) == pytest.approx((2.5, 97.5))


def test_percentiles_of_nothing_are_refused():
    with pytest.raises(UndefinedRateError, match="none of 3 resamples holds pairs"):
        percentile_ends(np.full(3, np.nan))


def test_unseen_rate_is_the_exact_binomial_end():
    rate = unseen_rate(90)
    assert (1 - rate) ** 90 == pytest.approx(0.025)
