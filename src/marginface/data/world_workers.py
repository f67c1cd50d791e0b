"""Processes that make pictures of the procedural world and send them home through a pipe.

A picture is a thousand short calls, which threads of one interpreter cannot share. Each process is
a plain child `python -c …` that calls `main`: its task comes as JSON, then it writes one line of
truth and the bytes of the image for every picture, in order. It needs no guarded main module,
inherits no threads, and ends by itself when the pipe to its parent breaks.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
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
        return self

    def __exit__(self, *reason: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.said.close()

    def receive(self) -> Made:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        count = 3 * self.size * self.size
        content = self.process.stdout.read(count) if line else b""
        if len(content) < count:
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
