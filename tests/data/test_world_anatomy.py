from dataclasses import astuple, fields

import numpy as np

from marginface.data.world_anatomy import TRUNCATION, Person, draw_person


def drawn(count: int) -> np.ndarray:
    return np.array([astuple(draw_person(1, identity)) for identity in range(count)])


def test_traits_spread_as_the_table_says() -> None:
    people = drawn(400)
    middle = np.array([trait.default for trait in fields(Person)])
    spread = np.array([trait.metadata["spread"] for trait in fields(Person)])
    scaled = (people - middle) / spread
    assert np.abs(scaled).max() <= TRUNCATION + 1e-9
    assert np.abs(scaled.mean(0)).max() < 0.25
    assert np.abs(scaled.std(0) - 0.95).max() < 0.15


def test_traits_are_independent_and_many() -> None:
    people = drawn(400)
    correlation = np.corrcoef(people.T) - np.eye(people.shape[1])
    assert people.shape[1] >= 60
    assert np.abs(correlation).max() < 0.3


def test_nobody_is_drawn_twice() -> None:
    people = drawn(300)
    assert len(np.unique(people[:, 0])) == 300


def test_a_person_does_not_depend_on_the_others() -> None:
    assert draw_person(5, 123) == draw_person(5, 123)
    assert draw_person(5, 123) != draw_person(6, 123)
