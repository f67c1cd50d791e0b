"""The mean with an interval over people."""

import numpy as np
import pytest

from marginface.evaluation.means import identity_mean


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
