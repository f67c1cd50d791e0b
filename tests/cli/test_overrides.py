"""Fields of a recipe replaced by dotted flags; what was not given stays."""

from dataclasses import dataclass, field

import pytest

from marginface.cli.overrides import apply_overrides, overrides_class
from marginface.training import OptimizerConfig


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


def test_another_optimiser_begins_with_its_own_numbers() -> None:
    """Rate, decay and momentum of a recipe are those of its own optimiser."""
    recipe, twin = OptimizerConfig(lr=0.2, weight_decay=2e-3), overrides_class(OptimizerConfig)
    changed = apply_overrides(recipe, twin(name="adamw", eps=1e-6))
    assert changed == OptimizerConfig(name="adamw", eps=1e-6)
    assert (changed.lr, changed.weight_decay, changed.momentum) == (1e-3, 0.1, None)
    assert apply_overrides(recipe, twin(name="sgd", momentum=0.5)) == OptimizerConfig(
        lr=0.2, weight_decay=2e-3, momentum=0.5
    )


def test_hidden_fields_are_not_offered() -> None:
    twin = overrides_class(Outer, hidden=frozenset({"lr", "inner.name"}))
    with pytest.raises(TypeError):
        twin(lr=1.0)
    assert not hasattr(twin(), "lr")
