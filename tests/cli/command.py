"""The command `marginface` in a process of its own, as a shell starts it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# A process started in the background may have been told to ignore Ctrl-C; a shell's is not.
ENTRY = """import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from marginface.cli import main
main()"""

# Before that: Ctrl-C when a function is called for the nth time, however fast the command goes on.
CTRL_C = """import importlib, os, signal
module = importlib.import_module({module!r})
original, calls = module.{name}, []
def called(*words, **options):
    calls.append(words)
    if len(calls) == {number}:
        os.kill(os.getpid(), signal.SIGINT)
    return original(*words, **options)
module.{name} = called
"""

EXITING = 0x4  # of the flags of a Linux process

# Only a failing test waits this long; a busy machine may take a minute to start torch thrice.
PATIENCE_S = 300

# A network of a few thousand weights on pictures of 32 pixels: forty steps a second and more.
SMALL = (
    *("--backbone.dim", "8", "--backbone.input-size", "32", "--batch-size", "8"),
    *("--no-keeps-tensorboard", "--checkpoint-every-s", "600"),
)


@contextmanager
def started(
    *words: object, prepare: Callable[[], None] | None = None, first: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Start a command as the leader of a session, after `prepare`; leave none of it behind.

    Args:
        words: Of the command.
        prepare: Called in the process before it is Python.
        first: Code it runs before the command.
    """
    command = [sys.executable, "-c", first + ENTRY, *map(str, words)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,
    ) as child:
        try:
            yield child
        finally:
            for process in processes_of(child.pid):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


def wait_until(is_true: Callable[[], bool], child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def ends_in_one_line(child: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end; return exit code and the one line of standard error."""
    out, err = child.communicate(timeout=PATIENCE_S)
    assert not out, out
    assert len(err.strip().splitlines()) == 1, err
    return child.returncode, err


def has_begun(run: Path) -> bool:
    return (run / "log.jsonl").is_file() and (run / "log.jsonl").stat().st_size > 0


def processes_of(session: int) -> list[int]:
    """Return the processes of the session that a command is or was the leader of.

    One that has begun to end is none: it may have closed its files, so that its parent ended too,
    and still be giving back its memory.
    """
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        state, its_session, flags = fields[0], int(fields[3]), int(fields[6])
        if its_session == session and state not in ("Z", "X") and not flags & EXITING:
            found.append(int(stat.parent.name))
    return found
