"""Death by SIGKILL at a chosen place of a run."""

import os
import signal
import sys
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
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")


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


def die_at_change(number: int) -> None:
    """Let this process kill itself before it changes what the disk holds for the nth time."""
    changes = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        is_written = event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wa"
        if is_written or event in CHANGES:
            changes += 1
            if changes == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
