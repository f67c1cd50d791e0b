"""The checks of constructor options, each with its hint."""

import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real

from marginface.errors import unknown_name


def check_number(name: str, value: object) -> None:
    """Raise TypeError unless `value` is a number; true and false are none."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")


def check_whole(name: str, value: object) -> None:
    """Raise TypeError unless `value` is a whole number; true and false are none."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, got {value!r}")


def check_positive(name: str, value: float) -> None:
    """Raise unless `value` is finite and above 0."""
    check_number(name, value)
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be finite and greater than 0, got {value}")


def check_angle(name: str, value_rad: float, *, high: float = math.pi / 2) -> None:
    """Raise unless the angle lies in [0, high]; a value that looks like degrees gets the hint."""
    check_number(name, value_rad)
    if not 0 <= value_rad <= high:
        limit = "π" if high == math.pi else "π/2"
        is_degrees = value_rad > math.pi / 2 and value_rad > 2
        hint = f"; if it is in degrees, pass math.radians({value_rad})" if is_degrees else ""
        raise ValueError(f"{name} must lie in [0, {limit}], got {value_rad}{hint}")


def check_fraction(name: str, value: float, *, unit: str = "") -> None:
    """Raise unless `value` lies in [0, 1]; `unit` says what it is a part of."""
    check_number(name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}{unit and '; ' + unit}")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise unless `value` is one of the choices, naming the nearest."""
    known = list(choices)
    if value not in known:
        raise unknown_name(name, value, known)


def check_at_least_zero(name: str, value: float) -> None:
    """Raise unless `value` is finite and at least 0."""
    check_number(name, value)
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and at least 0, got {value}")


def check_numbers(name: str, values: Sequence[float], count: int) -> tuple[float, ...]:
    """Return a tuple or list of `count` numbers, each finite and at least 0, as a tuple."""
    if not isinstance(values, list | tuple) or len(values) != count:
        raise ValueError(f"{name} must be {count} numbers, got {values!r}")
    for value in values:
        check_at_least_zero(name, value)
    return tuple(float(value) for value in values)
