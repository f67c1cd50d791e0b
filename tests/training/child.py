"""A training process of its own, or several in a row that kill themselves at chosen moments.

    python -m tests.training.child CONFIG.json RUN_DIR THREADS [MOMENT ...]

Moments: step-N (in the middle of step N, counted over this sitting), write-N (half way through
writing checkpoint N), model (all steps done, the model half written). Each is a forked process of
its own, so that torch is imported once; the last process of all has no such moment.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from marginface.training import TrainConfig, TrainingInterrupted, checkpoint, loop, train


def die_at(moment: str) -> None:
    kind, _, number = moment.partition("-")
    module, name = {
        "step": (loop, "take_step"),
        "write": (checkpoint, "write_atomically"),
        "model": (loop, "save_model"),
    }[kind]
    original, calls = getattr(module, name), 0

    def deadly(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < int(number or 1):
            return original(*arguments, **options)
        if kind != "step":
            path, content = arguments[0], arguments[1].encode() if kind == "write" else b"a model"
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            part.write_bytes(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    setattr(module, name, deadly)


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
            die_at(moment)
            train(config, Path(run_dir))
            os._exit(0)
        _, status = os.waitpid(process, 0)
        is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
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
