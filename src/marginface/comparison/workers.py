"""Processes that train: they hear of a stop from their parent alone, and never outlive it.

The terminal sends Ctrl-C to every process of a command. Only the parent listens; it tells the
workers by SIGTERM, which training takes as a request to save and stop. Telling twice does no harm,
so the parent repeats it until all have ended: the first may have come before training listened.
"""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from marginface.training import TrainConfig, TrainingInterrupted, TrainResult, train
from marginface.training.machine import cores

REPEAT_S = 0.2


class _Worker:
    """What a worker knows of itself."""

    def __init__(self) -> None:
        self.is_stopped = False
        self.is_idle = threading.Event()
        self.is_idle.set()

    def stop(self, *signalled: object) -> None:
        """Begin no further run; one under way is stopped by training itself."""
        self.is_stopped = True


_worker = _Worker()


@contextmanager
def worker_pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool for `train_in_worker`; if the block fails, its workers save, stop and end."""
    others = set(active_children())
    # Spawned, not forked: a forked child would inherit torch's threads in an unknown state.
    pool = ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_begin, initargs=(jobs,)
    )
    with pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            _end(set(active_children()) - others)
            raise


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Hold Ctrl-C back, also from processes started in the block until they let it through.

    A process that is still importing would answer it with a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def train_in_worker(config: TrainConfig, folder: Path) -> TrainResult:
    """Train in a process of `worker_pool`, unless it has been told to stop.

    Raises:
        TrainingInterrupted: If it has been, before or meanwhile.
    """
    _worker.is_idle.clear()
    try:
        if _worker.is_stopped:
            raise TrainingInterrupted(f"stopped before {folder} was begun")
        return train(config, folder, is_quiet=True)
    except TrainingInterrupted:
        _worker.stop()
        raise
    finally:
        _worker.is_idle.set()


def _begin(jobs: int) -> None:
    """Take a share of the cores, and listen to nobody but the parent."""
    torch.set_num_threads(max(1, cores() // jobs))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, _worker.stop)
    threading.Thread(target=_follow_parent, name="follow-parent", daemon=True).start()


def _follow_parent() -> None:
    """When the parent has gone, killed perhaps, save and end too."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    _worker.stop()
    while not _worker.is_idle.wait(REPEAT_S):
        os.kill(os.getpid(), signal.SIGTERM)
    os._exit(1)


def _end(workers: set[BaseProcess]) -> None:
    """Tell the workers to save and stop, and wait for them; a second Ctrl-C kills them."""
    try:
        while living := [worker for worker in workers if worker.is_alive()]:
            for worker in living:
                worker.terminate()
            connection.wait([worker.sentinel for worker in living], timeout=REPEAT_S)
    except BaseException:
        for worker in workers:
            worker.kill()
        raise
