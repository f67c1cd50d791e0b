"""One process of a run that `launch` started; it trains, tells its parent how it ended, and ends.

    python -m marginface.training.worker TASK.json       RANK and the rest as torchrun sets them

It hears of a stop from its parent alone, by SIGTERM, and never outlives it: standard input ends
with the parent, and the run is then saved and stopped, or left at once if it has not begun.
"""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch.distributed as dist

from marginface.files import write_atomically
from marginface.training.config import TrainConfig
from marginface.training.interrupts import TrainingInterrupted
from marginface.training.launch import INTERRUPTED, REPEAT_S, report_path
from marginface.training.loop import train

PATIENCE_S = 60.0


def main(task: Path) -> int:
    """Train as the task says, and return the exit code."""
    # A stop may come before training listens; it is told again until this process ends.
    signal.signal(signal.SIGTERM, lambda *_: None)
    threading.Thread(target=_follow_parent, name="follow-parent", daemon=True).start()
    told = json.loads(task.read_text())
    try:
        result = train(
            TrainConfig.from_dict(told["config"]),
            Path(told["run_dir"]),
            resume=told["resume"],
            is_quiet=told["is_quiet"],
        )
    except TrainingInterrupted as stop:
        _report(task, kind=type(stop).__name__, text=str(stop))
        return INTERRUPTED
    except Exception as error:
        _report(task, kind=type(error).__name__, text=" ".join(str(error).split()))
        if told["is_debug"]:
            raise
        return 1
    finally:
        # Python takes its own handlers away while it ends, and the next word would kill it.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _report(task, result=asdict(result) | {"model_path": str(result.model_path)})
    return 0


def _report(task: Path, **content: Any) -> None:
    write_atomically(report_path(task, int(os.environ["RANK"])), json.dumps(content))


def _follow_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    # A process that waits for one that is gone cannot stop politely; before all have met, it waits
    # without listening, and has nothing to save.
    ends_at = time.monotonic() + PATIENCE_S
    while dist.is_initialized() and time.monotonic() < ends_at:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(REPEAT_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
