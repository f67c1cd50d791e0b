import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from marginface.errors import UndefinedRateError
from marginface.evaluation import rank_correlation
from marginface.evaluation.correlation import weighted_spearman

VALUE = st.sampled_from([-1.5, 0.0, 0.25, 2.0, 7.0])
PICTURES = st.lists(st.tuples(VALUE, VALUE, st.integers(0, 3)), min_size=3, max_size=20)


def by_hand(first: list[float], second: list[float]) -> float:
    """Spearman's ρ from its definition: mean ranks by counting, then Pearson."""

    def ranks(values: list[float]) -> list[float]:
        return [
            sum(other < one for other in values) + (sum(other == one for other in values) + 1) / 2
            for one in values
        ]

    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


@given(PICTURES)
def test_weights_are_repetitions(pictures: list[tuple[float, float, int]]) -> None:
    first, second, weights = (np.array(column) for column in zip(*pictures, strict=True))
    one, other = np.repeat(first, weights), np.repeat(second, weights)
    assume(one.size > 0)
    found = weighted_spearman(first, second, weights[None].astype(float))[0]
    if np.unique(one).size < 2 or np.unique(other).size < 2:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(by_hand(one.tolist(), other.tolist()), abs=1e-12)
        assert found == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)


def test_the_interval_draws_people() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 25)
    level = rng.normal(size=40)
    # What a person shares makes 1,000 pictures worth little more than 40.
    quality, measure = level[people] + 0.1 * rng.normal(size=1000), level[people] * 0.4
    measure = measure + rng.normal(size=40)[people]
    found = rank_correlation(quality, measure, people, resamples=300)
    alone = rank_correlation(quality, measure, np.arange(1000), resamples=300)
    assert found.value == alone.value == pytest.approx(spearmanr(quality, measure).statistic)
    assert found.low < found.value < found.high
    assert found.high - found.low > 3 * (alone.high - alone.low)
    again = rank_correlation(quality, measure, people, resamples=300)
    assert again == found
    assert rank_correlation(quality, measure, people, resamples=300, seed=1) != found


def test_an_interval_is_that_of_drawn_lists() -> None:
    rng = np.random.default_rng(3)
    people = np.array([0, 0, 1, 2, 2, 2, 3])
    quality, measure = rng.normal(size=7), rng.normal(size=7)
    found = rank_correlation(quality, measure, people, seed=5, resamples=50)
    draws = np.random.default_rng(5).multinomial(4, np.full(4, 1 / 4), size=50)
    drawn = []
    for draw in draws:
        rows = [row for row in range(7) for _ in range(draw[people[row]])]
        if len({quality[row] for row in rows}) > 1:
            drawn.append(by_hand(quality[rows].tolist(), measure[rows].tolist()))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_what_has_no_rank_correlation() -> None:
    with pytest.raises(UndefinedRateError, match="that vary"):
        rank_correlation([1, 1, 1], [1, 2, 3], [0, 1, 2])
    with pytest.raises(UndefinedRateError, match="at least 2 people"):
        rank_correlation([1, 2, 3], [1, 2, 3], ["a", "a", "a"])
    with pytest.raises(ValueError, match="one shape"):
        rank_correlation([1, 2, 3], [1, 2], [0, 1, 2])
    with pytest.raises(ValueError, match="measure holds 1 NaN"):
        rank_correlation([1, 2, 3], [1, 2, np.nan], [0, 1, 2])
