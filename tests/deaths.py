"""Death by SIGKILL before any change of what the disk holds."""

import os
import signal
import sys
from typing import Any

CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")


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
