"""Every field of a frozen config as an optional flag of its dotted name.

A recipe gives the whole config; the command line may replace any field of it. What was not given
stays what the recipe says, so each flag needs a value that means "not given": the twin of a config
class made here has `None` for every field.
"""

import dataclasses
import typing
from functools import cache
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter
from docstring_parser import parse as parse_docstring

from marginface.errors import unknown_name

Config = TypeVar("Config")


@cache
def overrides_class(config_class: type, *, hidden: frozenset[str] = frozenset()) -> type:
    """Return the twin of a config class: the same fields, nested ones too, each `None` by default.

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
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            kind = overrides_class(kind, hidden=frozenset(inner))
        text = (described.get(field.name) or "").replace("\n", " ")
        annotation = Annotated[kind | None, Parameter(help=text, show_default=False)]  # type: ignore[valid-type]
        fields.append((field.name, annotation, dataclasses.field(default=None)))
    return dataclasses.make_dataclass(
        f"{config_class.__name__}Overrides", fields, frozen=True, kw_only=True
    )


def apply_overrides(config: Config, overrides: Any) -> Config:
    """Return `config` with every field replaced that `overrides` holds a value for.

    Dictionaries are merged, except that a new `name` drops the `options` of the old one, which
    belonged to another loss or network.

    Raises:
        ValueError: If the new values break a contract of the config.
    """
    if overrides is None:
        return config
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(overrides):
        value, old = getattr(overrides, field.name), getattr(config, field.name)
        if value is None:
            continue
        if dataclasses.is_dataclass(value):
            changes[field.name] = apply_overrides(old, value)
        else:
            changes[field.name] = old | value if isinstance(old, dict) else value
    if changes.get("name", getattr(config, "name", None)) != getattr(config, "name", None):
        given = getattr(overrides, "options", None)
        changes["options"] = given or {}
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def pick(argument: str, name: str, table: typing.Mapping[str, Config]) -> Config:
    """Return `table[name]`, or raise with the nearest name that would do.

    Raises:
        ValueError: If the table has no such name.
    """
    if name not in table:
        raise unknown_name(argument, name, table)
    return table[name]
