"""Run a function in several processes of one gloo group, cheaply enough for every test run.

The processes are forked from a server that has imported torch once, so one costs some 50 ms.
"""

import multiprocessing
import pickle
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# Only a failing test waits this long.
TIMEOUT_S = 300


def run_on(processes: int, job: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Return `job(*arguments)` of every process of a group, by rank.

    Args:
        processes: How many.
        job: A function of a module; the default group is there when it is called.
        arguments: Its arguments, the same for all.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.processes_preloaded"])
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        workers = []
        for rank in range(processes):
            ours, theirs = context.Pipe(duplex=False)
            worker = context.Process(
                target=_work, args=(rank, processes, store, theirs, job, arguments), daemon=True
            )
            worker.start()
            theirs.close()
            workers.append((worker, ours))
        try:
            answers = [_answer(rank, ours) for rank, (_, ours) in enumerate(workers)]
        finally:
            for worker, _ in workers:
                worker.join(timeout=10)
                if worker.is_alive():
                    worker.kill()
    failures = [text for kind, text in answers if kind == "failed"]
    assert not failures, "\n".join(failures)
    return [value for _, value in answers]


def _answer(rank: int, ours: Connection) -> tuple[str, Any]:
    if not ours.poll(TIMEOUT_S):
        return "failed", f"process {rank} said nothing for {TIMEOUT_S} s"
    try:
        answer: tuple[str, Any] = pickle.loads(ours.recv_bytes())
    except EOFError:
        return "failed", f"process {rank} died"
    return answer


def _work(
    rank: int,
    processes: int,
    store: str,
    theirs: Connection,
    job: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo",
            store=dist.FileStore(store, processes),
            rank=rank,
            world_size=processes,
            timeout=timedelta(seconds=TIMEOUT_S // 2),
        )
        answer = ("done", job(*arguments))
        dist.destroy_process_group()
    except BaseException:
        answer = ("failed", f"process {rank}:\n{traceback.format_exc()}")
    theirs.send_bytes(pickle.dumps(answer))
    theirs.close()
