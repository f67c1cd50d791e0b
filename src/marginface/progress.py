"""Progress with remaining time, on standard error, for whatever takes over a second or two."""

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")


def progress_bar(*, is_quiet: bool = False) -> Progress:
    """Return a rich progress display: description, bar, count, elapsed and remaining time.

    It draws on standard error, so standard output stays clean for results, and is silent where
    standard error is not a terminal.

    Args:
        is_quiet: Draw nothing at all.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        disable=is_quiet or not sys.stderr.isatty(),
    )


def track(items: Iterable[T], description: str, *, total: int | None = None) -> Iterator[T]:
    """Yield the items while a progress bar counts them.

    Args:
        items: What to walk over.
        description: What is being done, a few words.
        total: How many there are, where `items` has no length.
    """
    count = total if total is not None else (len(items) if isinstance(items, Sized) else None)
    with progress_bar() as bar:
        task = bar.add_task(description, total=count, note="")
        for item in items:
            yield item
            bar.advance(task)
