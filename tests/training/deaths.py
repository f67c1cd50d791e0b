"""Death at a chosen place of a run, by SIGKILL, or wherever a timer finds it, by SIGALRM."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from marginface.training import checkpoint, loop

PLACES = {
    "step": (loop, "take_step"),
    "shards": (checkpoint.shards, "write"),
    "state": (checkpoint, "write_atomically"),
    "removal": (checkpoint, "remove"),
    "model": (loop, "save_model"),
}
WRITE_ONE_FILE = ("state", "model")


def die_at(place: str, number: int = 1) -> None:
    """Let this process kill itself when it comes to a place for the nth time.

    Where one file is written there, half of it is left behind, under the name it has until then.
    """
    module, name = PLACES[place]
    original, calls = getattr(module, name), 0

    def deadly(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            if place in WRITE_ONE_FILE:
                target: Path = arguments[0]
                target.with_name(f".{target.name}.{os.getpid()}.part").write_bytes(b"half of")
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(module, name, deadly)


def die_in_passing(step: int, share: float) -> None:
    """Let the system kill this process a while after its nth step has begun, wherever it is then.

    Args:
        step: Which one of this sitting, from 3.
        share: The while, above 0, in steps as long as those since the second, saving and all: on a
            busy machine it is as much longer as they are.
    """
    original, calls, since = loop.take_step, 0, 0.0

    def timed(*arguments: Any, **options: Any) -> Any:
        nonlocal calls, since
        calls += 1
        if calls == 2:  # the first step of a process takes many times as long
            since = time.monotonic()
        if calls == step:
            mean_s = (time.monotonic() - since) / (step - 2)
            signal.setitimer(signal.ITIMER_REAL, share * mean_s)  # nobody listens to what it sends
        return original(*arguments, **options)

    loop.take_step = timed
