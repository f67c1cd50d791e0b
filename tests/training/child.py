"""A training process of its own, or several in a row that kill themselves at chosen moments.

    python -m tests.training.child CONFIG.json RUN_DIR THREADS [MOMENT ...]

A moment is PLACE-N: the Nth time in this sitting at one of the places of `deaths.py`, or before the
Nth change of any file for change-N; or passing-N-SHARE, for that share of a step after the Nth one
has begun. Each is a forked process of its own, so that torch is imported once; the last process of
all has no such moment.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from marginface.training import TrainConfig, TrainingInterrupted, train
from tests.deaths import die_at_change
from tests.training.deaths import die_at, die_in_passing

DEADLY = (signal.SIGKILL, signal.SIGALRM)


def die_at_moment(place: str, number: str, share: str = "") -> None:
    if place == "passing":
        die_in_passing(int(number), float(share))
    elif place == "change":
        die_at_change(int(number))
    else:
        die_at(place, int(number))


def main() -> int:
    config_path, run_dir, threads, *moments = sys.argv[1:]
    # A process started in the background may have been told to ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(int(threads))
    config = TrainConfig.from_dict(json.loads(Path(config_path).read_text()))
    # The first optimiser of a process imports for seconds; the forked ones need not do it again.
    torch.optim.SGD([torch.zeros(1)])
    for moment in moments:
        if not (process := os.fork()):
            die_at_moment(*moment.split("-"))
            train(config, Path(run_dir))
            os._exit(0)
        _, status = os.waitpid(process, 0)
        is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) in DEADLY
        if not is_killed or (Path(run_dir) / "model.safetensors").exists():
            sys.stdout.write(f"{moment} did not kill as it should: status {status}\n")
            return 1
    try:
        train(config, Path(run_dir))
    except TrainingInterrupted as stop:
        sys.stdout.write(f"{stop}\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
