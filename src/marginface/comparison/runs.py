"""Train every run of a plan, some at a time; what is done is not done again."""

import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from marginface.comparison.plan import ComparisonPlan
from marginface.progress import progress_bar
from marginface.training import LossConfig, TrainConfig, TrainResult, read_log, train

POLL_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run of a comparison and its folder."""

    loss: LossConfig
    seed: int
    folder: Path


def planned_runs(plan: ComparisonPlan, out: Path) -> list[Run]:
    """Return the runs in the order they are trained: all losses of a seed, then the next seed."""
    return [
        Run(loss=loss, seed=seed, folder=out / "runs" / loss.name / f"seed-{seed}")
        for seed in plan.seeds
        for loss in plan.losses
    ]


def train_runs(plan: ComparisonPlan, out: Path, *, jobs: int) -> list[TrainResult]:
    """Train what is not trained yet and return all results, in the order of `planned_runs`.

    Args:
        plan: What to train.
        out: Folder of the comparison.
        jobs: Runs at a time, each in a process with its share of the cores. More than one is faster
            where a single small network cannot keep all cores busy.

    Raises:
        CheckpointMismatchError: If the folder holds runs of another plan.
        NonFiniteLossError: If a run meets NaN or infinity.
    """
    runs = planned_runs(plan, out)
    configs = [plan.run_config(run.loss, run.seed) for run in runs]
    if jobs == 1:
        return [train(config, run.folder) for config, run in zip(configs, runs, strict=True)]
    # Spawned, not forked: a forked child would inherit torch's threads in an unknown state.
    pool = ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_take_share, initargs=(jobs,)
    )
    with pool, _cancelling(pool):
        futures = [
            pool.submit(_train_quietly, config, run.folder)
            for config, run in zip(configs, runs, strict=True)
        ]
        _watch(futures, runs, configs)
        return [future.result() for future in futures]


def _take_share(jobs: int) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))


def _train_quietly(config: TrainConfig, folder: Path) -> TrainResult:
    return train(config, folder, is_quiet=True)


@contextmanager
def _cancelling(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Let no further run start once one has failed or Ctrl-C came; the others save and stop."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise


def _watch(futures: list[Future[TrainResult]], runs: list[Run], configs: list[TrainConfig]) -> None:
    """Show how many runs are done and how far the others are, until all are or one has failed."""
    with progress_bar() as bar:
        task = bar.add_task("train", total=len(futures), note="")
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            shares = {
                run.loss.name: _share(run.folder, config)
                for run, config, future in zip(runs, configs, futures, strict=True)
                if future.running()
            }
            note = "  ".join(f"{name} {share:.0%}" for name, share in shares.items())
            count = len(futures) - len(pending) + sum(shares.values())
            bar.update(task, completed=count, note=note)


def _share(folder: Path, config: TrainConfig) -> float:
    """Return how far a run under way is, from 0 to 1, by its own log."""
    records = [record for record in read_log(folder / "log.jsonl") if "epoch" in record]
    if not records:
        return 0.0
    last = records[-1]
    done = last["step"] / config.steps if config.steps else last["epoch"] / (config.epochs or 1)
    return min(1.0, float(done))
