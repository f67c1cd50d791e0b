"""Frozen dataclasses to plain JSON values and back, by their annotations."""

import types
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from marginface.errors import unknown_name

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Return dataclasses as dictionaries, tuples as lists and paths as text, all the way down."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_plain(kind: type[T], values: dict[str, Any], prefix: str = "") -> T:
    """Make a dataclass of type `kind` from what `to_plain` returned.

    Args:
        kind: A dataclass whose fields are annotated with simple types, dictionaries, tuples,
            unions or further dataclasses.
        values: The plain values; absent fields keep their defaults.
        prefix: Dotted name of the value within a larger one, for messages.

    Raises:
        ValueError: If a field is unknown or a value cannot stand in it.
    """
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise unknown_name(f"{prefix}field", name, known)
    made = {name: _made(hints[name], item, prefix + name) for name, item in values.items()}
    return kind(**made)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, its keys the dotted names.

    Example:
        >>> flat({"seed": 0, "loss": {"name": "arcface"}})
        {'seed': 0, 'loss.name': 'arcface'}
    """
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        result |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return result


def _made(annotation: Any, value: Any, name: str) -> Any:
    origin, inner = get_origin(annotation), get_args(annotation)
    if is_dataclass(annotation) and isinstance(value, dict):
        return from_plain(annotation, value, f"{name}.")  # type: ignore[arg-type]
    if origin in (Union, types.UnionType):
        return _made_of_any(inner, value, name)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_made(inner[0], item, name) for item in value)
    if origin is dict and isinstance(value, dict):
        return {key: _made(inner[1], item, f"{name}.{key}") for key, item in value.items()}
    if origin is Literal and value in inner:
        return value
    if annotation is Path and isinstance(value, str):
        return Path(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if annotation is float and is_whole:
        return float(value)
    is_class = isinstance(annotation, type) and origin is None
    if is_class and isinstance(value, annotation) and (annotation is not int or is_whole):
        return value
    wanted = getattr(annotation, "__name__", None) if origin is None else str(annotation)
    raise ValueError(f"{name} must be {wanted or annotation}, got {value!r}")


def _made_of_any(choices: tuple[Any, ...], value: Any, name: str) -> Any:
    # An exact type first: 1 must stay a whole number in `int | float`, and True a bool.
    for choice in sorted(choices, key=lambda choice: choice is not type(value)):
        try:
            return None if choice is type(None) and value is None else _made(choice, value, name)
        except ValueError:
            continue
    wanted = " or ".join(getattr(choice, "__name__", str(choice)) for choice in choices)
    raise ValueError(f"{name} must be {wanted}, got {value!r}".replace("NoneType", "nothing"))
