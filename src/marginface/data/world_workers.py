"""Processes that make pictures of the procedural world and send them home through a pipe.

A picture is a thousand short calls, which threads of one interpreter cannot share. Each process is
a plain child `python -c …` that calls `main`: its task comes as JSON, then it writes one line of
truth and the bytes of the image for every picture, in order. It needs no guarded main module,
inherits no threads, and ends by itself when the pipe to its parent breaks.

The parent wants all pictures of one person before those of the next, and a pipe holds one or two; a
thread per process reads ahead, or the processes would take turns instead of working side by side.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

import marginface
from marginface.data.world_pictures import WorldConfig, make_picture, truth_of
from marginface.errors import DataError

# Bytes of pictures that may wait for the parent, per process.
READ_AHEAD = 32_000_000
POLL_S = 0.1

CHILD = "from marginface.data.world_workers import main; main()"


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A picture on its way into a pack."""

    identity: int
    picture: int
    image: NDArray[np.uint8]
    truth: Mapping[str, Any]


def make_people(config: WorldConfig, people: range, images_per_identity: int) -> Iterator[Made]:
    """Yield all pictures of the people, made in this process."""
    for identity in people:
        for picture in range(images_per_identity):
            made = make_picture(config, identity, picture)
            yield Made(identity, picture, made.image, truth_of(made, identity, picture))


def make_people_in_processes(
    config: WorldConfig, people: range, images_per_identity: int, *, workers: int
) -> Iterator[Made]:
    """Yield all pictures of the people in order; process k makes every `workers`-th person from k.

    Raises:
        DataError: If a process dies, with the last line it said.
    """
    with contextlib.ExitStack() as stack:
        crew = [
            stack.enter_context(_Worker(config, people[k::workers], images_per_identity))
            for k in range(min(workers, len(people)))
        ]
        for place in range(len(people)):
            for _ in range(images_per_identity):
                yield crew[place % len(crew)].receive()


class _Worker:
    """One child process; a context that never outlives its block."""

    def __init__(self, config: WorldConfig, people: range, images_per_identity: int) -> None:
        self.size = config.size
        self.task = {
            "config": asdict(config),
            "people": [people.start, people.stop, people.step],
            "images_per_identity": images_per_identity,
        }
        ahead = max(2, READ_AHEAD // (3 * config.size**2))
        self.made: queue.Queue[tuple[bytes, bytes]] = queue.Queue(min(ahead, 4096))
        self.is_over = threading.Event()

    def __enter__(self) -> "_Worker":
        root = str(Path(marginface.__file__).parents[1])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        # One core each: more would only make the processes wait for one another.
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self.said: IO[bytes] = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps(self.task)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.said,
            env=environment,
        )
        self.reader = threading.Thread(target=self._read, name="read-pictures", daemon=True)
        self.reader.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self.is_over.set()
        self.process.kill()
        self.process.wait()
        self.reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.said.close()

    def _read(self) -> None:
        """Move pictures from the pipe to the queue until the pipe ends or nobody wants them."""
        assert self.process.stdout is not None
        content = b"any"
        while content and not self.is_over.is_set():
            line = self.process.stdout.readline()
            content = self.process.stdout.read(3 * self.size * self.size) if line else b""
            while not self.is_over.is_set():
                with contextlib.suppress(queue.Full):
                    self.made.put((line, content), timeout=POLL_S)
                    break

    def receive(self) -> Made:
        line, content = self.made.get()
        if len(content) < 3 * self.size * self.size:
            self.said.seek(0)
            last = self.said.read().decode(errors="replace").strip().splitlines()[-1:]
            raise DataError(
                f"a process that makes pictures must not end early, got exit code "
                f"{self.process.wait()} ({''.join(last) or 'it said nothing'}); try workers=1"
            )
        truth = json.loads(line)
        truth["view"] = np.array(truth["view"], dtype=np.float32)
        image = np.frombuffer(content, dtype=np.uint8).reshape(self.size, self.size, 3)
        return Made(truth["identity"], truth["picture"], image, truth)


def serve(task: str, out: IO[bytes]) -> None:
    """Do a task given as JSON, writing to `out`; what a child process runs."""
    asked = json.loads(task)
    config = WorldConfig(**asked["config"])
    for made in make_people(config, range(*asked["people"]), asked["images_per_identity"]):
        truth = {**made.truth, "view": made.truth["view"].tolist()}
        out.write(json.dumps(truth).encode() + b"\n")
        out.write(made.image.tobytes())
    out.flush()


def main() -> None:
    """Serve the task in the first argument on standard output."""
    # Ctrl-C reaches the whole group; the parent ends its children itself, in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    with contextlib.suppress(BrokenPipeError):
        serve(sys.argv[1], sys.stdout.buffer)
