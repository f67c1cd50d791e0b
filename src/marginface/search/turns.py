"""Many may read at once, one may write alone; who waits to write goes first."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock with two doors; neither may be entered again by the thread that is inside."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._readers = 0
        self._waiting = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Enter beside other readers, while nobody writes or waits to."""
        with self._free:
            while self._waiting:
                self._free.wait()
            self._readers += 1
        try:
            yield
        finally:
            with self._free:
                self._readers -= 1
                self._free.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Enter alone; the condition's own lock keeps everybody else out."""
        with self._free:
            self._waiting += 1
            try:
                while self._readers:
                    self._free.wait()
            finally:
                self._waiting -= 1
            try:
                yield
            finally:
                self._free.notify_all()
