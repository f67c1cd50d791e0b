"""Every field of a frozen config as an optional flag of its dotted name.

A recipe gives the whole config; the command line may replace any field of it. What was not given
stays what the recipe says, so each flag needs a value that means "not given": the twin of a config
class made here has `None` for every field.
"""

import dataclasses
import typing
from collections.abc import Mapping
from functools import cache
from types import NoneType
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter
from docstring_parser import parse as parse_docstring

from marginface.errors import unknown_name
from marginface.training import OptimizerConfig
from marginface.training.config import Option

Config = TypeVar("Config")


@cache
def overrides_class(config_class: type, *, hidden: frozenset[str] = frozenset()) -> type:
    """Return the twin of a config class: the same fields, nested ones too, each leaf `None`.

    Args:
        config_class: A dataclass whose docstring describes its fields under `Args`.
        hidden: Dotted names to leave out, because the command gives them in its own words.
    """
    described = {
        entry.arg_name: entry.description
        for entry in parse_docstring(config_class.__doc__ or "").params
    }
    hints = typing.get_type_hints(config_class)
    fields: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(config_class):
        if field.name in hidden:
            continue
        inner = {name.split(".", 1)[1] for name in hidden if name.startswith(f"{field.name}.")}
        kind: Any = hints[field.name]
        if (part := _config_class(kind)) is not None:
            twin = overrides_class(part, hidden=frozenset(inner))
            fields.append((field.name, twin, dataclasses.field(default_factory=twin)))
            continue
        text = (described.get(field.name) or "").replace("\n", " ")
        # A union of numbers and words is read as words, and told apart by `plain_options`.
        given: Any = dict[str, str] if kind == dict[str, Option] else kind
        flag = Parameter(help=text, show_default=False, negative_iterable="", consume_multiple=True)
        annotation = Annotated[given | None, flag]
        fields.append((field.name, annotation, dataclasses.field(default=None)))
    twin_class = dataclasses.make_dataclass(
        f"{config_class.__name__}Overrides", fields, frozen=True, kw_only=True
    )
    # Classes made at run time say they are of `types`, and cyclopts takes those for builtins.
    twin_class.__module__ = __name__
    return twin_class


def apply_overrides(config: Config, overrides: Any) -> Config:
    """Return `config` with every field replaced that `overrides` holds a value for.

    Dictionaries are merged, except that a new `name` drops the `options` of the old one, which
    belonged to another loss or network; of an optimiser it drops all numbers.

    Raises:
        ValueError: If the new values break a contract of the config.
    """
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(overrides):
        value, old = getattr(overrides, field.name), getattr(config, field.name)
        if value is None:
            continue
        if dataclasses.is_dataclass(value):
            if old is None:
                if not _gives_anything(value):
                    continue
                # A part that is off by default is switched on by any of its flags.
                old = _config_class(typing.get_type_hints(type(config))[field.name])()  # type: ignore[misc]
            changes[field.name] = apply_overrides(old, value)
        elif isinstance(old, dict):
            changes[field.name] = old | plain_options(value)
        else:
            changes[field.name] = value
    if changes.get("steps") is not None and "epochs" not in changes:
        changes["epochs"] = None  # a run has one length; the recipe's gives way
    if changes.get("name", getattr(config, "name", None)) != getattr(config, "name", None):
        if isinstance(config, OptimizerConfig):
            return type(config)(**changes)
        changes["options"] = plain_options(getattr(overrides, "options", None) or {})
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def _config_class(kind: Any) -> type | None:
    """Return the config class of an annotation, of `Config | None` too; None if it is no config."""
    choices = [choice for choice in (typing.get_args(kind) or (kind,)) if choice is not NoneType]
    if len(choices) == 1 and isinstance(choices[0], type) and dataclasses.is_dataclass(choices[0]):
        return choices[0]
    return None


def _gives_anything(overrides: Any) -> bool:
    values = (getattr(overrides, field.name) for field in dataclasses.fields(overrides))
    return any(
        _gives_anything(value) if dataclasses.is_dataclass(value) else value is not None
        for value in values
    )


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with words that are numbers or true or false read as such.

    Example:
        >>> plain_options({"margin_rad": "0.5", "blocks": "2", "ordering": "rank", "on": "true"})
        {'margin_rad': 0.5, 'blocks': 2, 'ordering': 'rank', 'on': True}
    """
    return {name.replace("-", "_"): _plain(value) for name, value in options.items()}


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value in {"true", "false"}:
        return value == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def pick(argument: str, name: str, table: Mapping[str, Config]) -> Config:
    """Return `table[name]`, or raise with the nearest name that would do.

    Raises:
        ValueError: If the table has no such name.
    """
    if name not in table:
        raise unknown_name(argument, name, table)
    return table[name]
