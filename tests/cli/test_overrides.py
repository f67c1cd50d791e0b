"""Fields of a recipe replaced by dotted flags; what was not given stays."""

from dataclasses import dataclass, field

import pytest

from marginface.cli.overrides import apply_overrides, overrides_class


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Say what.

    Args:
        name: Which one.
        options: Its options.
    """

    name: str = "old"
    options: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outer:
    """Say all.

    Args:
        inner: The part.
        lr: The rate.
    """

    inner: Inner = field(default_factory=Inner)
    lr: float = 0.1


BASE = Outer(inner=Inner(name="recipe", options={"scale": 32.0}), lr=3.0)


def test_nothing_given_changes_nothing() -> None:
    assert apply_overrides(BASE, overrides_class(Outer)()) == BASE


def test_a_nested_field_is_replaced_and_the_rest_stays() -> None:
    twin, inner = overrides_class(Outer), overrides_class(Inner)
    changed = apply_overrides(BASE, twin(inner=inner(options={"margin": 0.5})))
    assert changed.inner.options == {"scale": 32.0, "margin": 0.5}
    assert (changed.inner.name, changed.lr) == ("recipe", 3.0)


def test_another_name_drops_the_options_of_the_old_one() -> None:
    twin, inner = overrides_class(Outer), overrides_class(Inner)
    assert apply_overrides(BASE, twin(inner=inner(name="new"))).inner == Inner(name="new")
    both = apply_overrides(BASE, twin(inner=inner(name="new", options={"a": 1.0})))
    assert both.inner == Inner(name="new", options={"a": 1.0})


def test_hidden_fields_are_not_offered() -> None:
    twin = overrides_class(Outer, hidden=frozenset({"lr", "inner.name"}))
    with pytest.raises(TypeError):
        twin(lr=1.0)
    assert not hasattr(twin(), "lr")
