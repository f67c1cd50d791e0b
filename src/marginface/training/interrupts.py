"""Ctrl-C without loss: the step in hand is finished and saved, then the run stops."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TrainingInterrupted(KeyboardInterrupt):
    """Training stopped after a checkpoint because it was asked to; the message says how to go on.

    It is a KeyboardInterrupt, so that whatever runs several trainings stops as a whole.
    """


class StopRequest:
    """Whether a stop has been asked for."""

    def __init__(self) -> None:
        self.is_made = False


@contextmanager
def listen_for_stop() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM inside the block into a request; a second one ends at once.

    Only the main thread may set handlers; in another one the request is never made. A process that
    was started to ignore a signal goes on to ignore it.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def ask(number: int, frame: FrameType | None) -> None:
        request.is_made = True
        signal.signal(number, before[signal.Signals(number)])

    for number in numbers:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, ask)
    try:
        yield request
    finally:
        for number in numbers:
            signal.signal(number, before[number])
