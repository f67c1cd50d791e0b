"""Whole numbers on the command line, refused where the library that reads it would round them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from cyclopts import Token, convert

Tokens = Sequence[Token] | Mapping[str, Any]


def convert_unrounded(kind: Any, tokens: Tokens) -> Any:
    """Convert the words of an option as cyclopts does, except that no fraction becomes an int.

    Args:
        kind: What the option is annotated with.
        tokens: Its words, by key if it has keys.

    Raises:
        ValueError: If a whole number is wanted and a word has a decimal point.
    """
    if int in (kind, *get_args(kind)):
        for token in _flat(tokens):
            if "." in token.value:
                raise ValueError(f"it must be a whole number, got {token.value!r}")
    return convert(kind, tokens)  # type: ignore[arg-type]


def _flat(tokens: Tokens) -> Iterable[Token]:
    if not isinstance(tokens, Mapping):
        return tokens
    return (token for inner in tokens.values() for token in _flat(inner))
