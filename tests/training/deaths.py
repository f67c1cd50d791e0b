"""Death by SIGKILL at a chosen place of a run."""

import os
import signal
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
