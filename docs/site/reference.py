"""One page a room, from `__all__` and the docstrings: the public surface and nothing else."""

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from docstrings import inline, to_rst

ROOMS = (
    "losses",
    "heads",
    "backbones",
    "sphere",
    "evaluation",
    "recognition",
    "training",
    "recipes",
    "data",
    "protocols",
    "search",
    "rendering",
    "reconstruction",
)
LONGEST_VALUE = 300

DOOR = """Reference
=========

{text}

.. py:module:: marginface

``from marginface import Recognizer`` is :py:class:`marginface.recognition.Recognizer`, loaded when
it is first asked for. Everything else is imported from its room:

.. list-table::

{rows}

.. toctree::
   :hidden:

{pages}
"""


def public_names() -> dict[str, str]:
    """Return where things are defined and the name they are public under."""
    return {
        f"{thing.__module__}.{thing.__qualname__}": f"{room.__name__}.{name}"
        for room in _rooms()
        for name, thing in _members(room)
        if _is_documented(thing)
    }


def write_reference(folder: Path) -> None:
    """Write the pages, and the door page that lists them.

    Raises:
        ValueError: If something public has no docstring.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for room in _rooms():
        short = room.__name__.rpartition(".")[2]
        (folder / f"{short}.rst").write_text(_page(room), encoding="utf-8")
    rows = "".join(
        f"   * - :doc:`marginface.{name} <{name}>`\n     - {inline(_summary(name))}\n"
        for name in ROOMS
    )
    pages = "".join(f"   {name}\n" for name in ROOMS)
    package = importlib.import_module("marginface")
    text = "\n".join(to_rst(_doc(package)))
    door = DOOR.format(text=text, rows=rows, pages=pages)
    (folder / "index.rst").write_text(door, encoding="utf-8")


def _page(room: ModuleType) -> str:
    title = room.__name__
    lines = [title, "=" * len(title), "", *to_rst(_doc(room)), "", f".. py:module:: {title}", ""]
    lines += [f".. py:currentmodule:: {title}", ""]
    parts: dict[str, list[tuple[str, Any]]] = {}
    for name, thing in _members(room):
        where = thing.__module__ if _is_documented(thing) else title
        parts.setdefault(where, []).append((name, thing))
    for name, thing in parts.pop(title, []):
        lines += _entry(title, name, thing)
    for where in sorted(parts):
        heading = where.rpartition(".")[2].replace("_", " ")
        lines += [heading, "-" * len(heading), "", *to_rst(_doc(sys.modules[where])), ""]
        for name, thing in parts[where]:
            lines += _entry(title, name, thing)
    return "\n".join(lines) + "\n"


def _entry(room: str, name: str, thing: Any) -> list[str]:
    if not _is_documented(thing):
        return _value(name, thing)
    if not inspect.getdoc(thing):
        raise ValueError(f"{room}.{name} is public and must have a docstring, got none")
    if not inspect.isclass(thing):
        return [f".. autofunction:: {room}.{name}", ""]
    lines = [f".. autoclass:: {room}.{name}", "   :members:"]
    if thing.__base__ not in (object, tuple):
        lines.append("   :show-inheritance:")
    # "Alias for field number 0" says nothing; `Args` has the fields.
    if fields := ", ".join(getattr(thing, "_fields", ())):
        lines.append(f"   :exclude-members: {fields}")
    return [*lines, ""]


def _value(name: str, value: Any) -> list[str]:
    lines = [f".. py:data:: {name}", f"   :type: {type(value).__name__}", ""]
    if isinstance(value, dict):
        keys = ", ".join(f"``{key}``" for key in value)
        return [*lines, f"   Keys: {keys}.", ""]
    text = repr(value)
    return [*lines, f"   ``{text}``", ""] if len(text) <= LONGEST_VALUE else lines


def _members(room: ModuleType) -> Iterator[tuple[str, Any]]:
    for name in room.__all__:
        yield name, getattr(room, name)


def _rooms() -> Iterator[ModuleType]:
    for name in ROOMS:
        yield importlib.import_module(f"marginface.{name}")


def _is_documented(thing: Any) -> bool:
    return inspect.isclass(thing) or inspect.isfunction(thing)


def _doc(module: ModuleType) -> list[str]:
    return (inspect.getdoc(module) or "").splitlines()


def _summary(room: str) -> str:
    return _doc(importlib.import_module(f"marginface.{room}"))[0]
