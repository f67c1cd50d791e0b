"""A table in words before it becomes HTML, Markdown or LaTeX, and how its cells are written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marginface.report.words import (
    difference_words,
    interval_words,
    is_percent,
    percent_words,
    value_words,
)

RATE = "eer"  # any metric that is a share: how rates without a name of their own are written


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number in words: the value, its interval, and whether a caution speaks against it."""

    value: str
    interval: str = ""
    is_marked: bool = False

    @property
    def text(self) -> str:
        """All of it in one line of plain text."""
        mark = "*" if self.is_marked else ""
        return f"{self.value}{mark} {self.interval}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One table.

    Attributes:
        part: What it is about: verification, public, groups, rejection, cmc, open set, distractors.
        title: Its heading.
        heads: One per column, that of the names first.
        rows: Name and cells, as many as there are heads after the first.
        notes: Cautions and refusals, in sentences.
    """

    part: str
    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    notes: tuple[str, ...] = ()


def metric_cell(ends: Mapping[str, Any] | None, metric: str, *, is_marked: bool = False) -> Cell:
    """Write a metric with its interval."""
    if ends is None:
        return Cell(value="–", is_marked=is_marked)
    words = percent_words(ends["value"]) if is_percent(metric) else value_words(metric, ends)
    return Cell(value=words, interval=interval_words(metric, ends), is_marked=is_marked)


def difference_cell(difference: Mapping[str, Any] | None) -> Cell:
    """Write a difference of rates in points, with its interval."""
    if difference is None:
        return Cell(value="")
    value, ends = difference_words(RATE, difference).split(" ", 1)
    return Cell(value=value, interval=ends)


def rate_cell(point: Mapping[str, Any] | None, key: str = "value") -> Cell:
    """Write a rate that may have an interval, low and high, and a caution beside it."""
    if point is None:
        return Cell(value="–")
    interval = interval_words(RATE, point) if "low" in point else ""
    is_marked = bool(point.get("caution"))
    return Cell(value=percent_words(point[key]), interval=interval, is_marked=is_marked)
