"""The mean with an interval over people."""

import numpy as np
import pytest

from marginface.evaluation.bootstrap import unseen_rate
from marginface.evaluation.means import identity_mean, identity_share


def test_value_is_the_plain_mean_and_lies_within() -> None:
    values = np.random.default_rng(0).normal(size=60)
    people = [f"p{i % 12}" for i in range(60)]
    found = identity_mean(values, people)
    assert found.value == pytest.approx(values.mean())
    assert found.low < found.value < found.high


def test_interval_is_that_of_drawing_people() -> None:
    values, people = np.arange(12.0), ["a"] * 2 + ["b"] * 4 + ["c"] * 6
    rng = np.random.default_rng(3)
    drawn = []
    for _ in range(200):
        counts = rng.multinomial(3, [1 / 3] * 3)
        rows = np.repeat(values, np.array([counts["abc".index(who)] for who in people]))
        drawn.append(rows.mean())
    low, high = np.quantile(drawn, [0.025, 0.975])
    found = identity_mean(values, people, seed=3, resamples=200)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_pictures_of_one_person_are_one_fact() -> None:
    values = np.repeat(np.random.default_rng(1).normal(size=10), 50)
    people = [f"p{i // 50}" for i in range(500)]
    together = identity_mean(values, people)
    apart = identity_mean(values, [str(i) for i in range(500)])
    assert together.high - together.low > 4 * (apart.high - apart.low)


@pytest.mark.parametrize(
    ("values", "people"), [([], []), ([1.0], ["a", "b"]), ([np.nan], ["a"]), ([[1.0]], ["a"])]
)
def test_refuses(values: list[float], people: list[str]) -> None:
    with pytest.raises(ValueError, match="values must be"):
        identity_mean(values, people)


def test_a_share_is_the_mean_of_what_came_true() -> None:
    hits, trials = np.array([1, 0, 4, 0]), np.array([2, 3, 5, 0])
    found = identity_share(hits, trials, seed=2, resamples=50)
    ones = [
        value for h, t in zip(hits, trials, strict=True) for value in [1.0] * h + [0.0] * (t - h)
    ]
    people = np.repeat(np.arange(4), trials)
    assert found == identity_mean(ones, people, seed=2, resamples=50)


@pytest.mark.parametrize("share", [0, 1])
def test_a_share_without_errors_has_an_open_end(share: int) -> None:
    found = identity_share([share * 3] * 40, [3] * 40, resamples=5)
    ends = (0.0, unseen_rate(40)) if share == 0 else (1 - unseen_rate(40), 1.0)
    assert (found.low, found.high) == ends


@pytest.mark.parametrize(("hits", "trials"), [([1], [1, 2]), ([3], [2]), ([0], [0])])
def test_shares_refuse(hits: list[int], trials: list[int]) -> None:
    with pytest.raises(ValueError, match=r"hits must be|trials must hold"):
        identity_share(hits, trials)
