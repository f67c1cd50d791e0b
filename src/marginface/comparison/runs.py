"""Train every run of a plan, some at a time; what is done is not done again."""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch

from marginface.comparison.plan import ComparisonPlan, Variant
from marginface.comparison.workers import train_in_worker, without_ctrl_c, worker_pool
from marginface.errors import MarginfaceError
from marginface.progress import progress_bar
from marginface.training import (
    TrainConfig,
    TrainingInterrupted,
    TrainResult,
    read_log,
    train,
)
from marginface.training.interrupts import listen_for_stop
from marginface.training.machine import cores

POLL_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run of a comparison and its folder."""

    variant: Variant
    seed: int
    folder: Path


def planned_runs(plan: ComparisonPlan, out: Path) -> list[Run]:
    """Return the runs in the order they are trained: all losses of a seed, then the next seed."""
    return [
        Run(variant=variant, seed=seed, folder=out / "runs" / variant.name / f"seed-{seed}")
        for seed in plan.seeds
        for variant in plan.variants
    ]


def usual_jobs(plan: ComparisonPlan) -> int:
    """Return how many runs at a time keep the cores busy: one on a GPU, which they would share."""
    if torch.device(plan.config.device).type != "cpu":
        return 1
    return min(cores(), len(plan.seeds) * len(plan.variants))


def train_runs(plan: ComparisonPlan, out: Path, *, jobs: int) -> list[TrainResult]:
    """Train what is not trained yet and return all results, in the order of `planned_runs`.

    Args:
        plan: What to train.
        out: Folder of the comparison.
        jobs: Runs at a time, each in a process with its share of the cores. More than one is faster
            where a single small network cannot keep all cores busy.

    Raises:
        CheckpointMismatchError: If the folder holds runs of another plan.
        NonFiniteLossError: If a run meets NaN or infinity; the others save and stop.
        TrainingInterrupted: If SIGINT or SIGTERM came; the runs under way have saved.
        MarginfaceError: If a process of a run was killed.
    """
    runs = planned_runs(plan, out)
    configs = [plan.run_config(run.variant, run.seed) for run in runs]
    if jobs == 1:
        return [train(config, run.folder) for config, run in zip(configs, runs, strict=True)]
    with listen_for_stop() as stop, worker_pool(jobs) as pool:
        with without_ctrl_c():
            futures = [
                pool.submit(train_in_worker, config, run.folder)
                for config, run in zip(configs, runs, strict=True)
            ]
        try:
            for _ in _watch(futures, runs, configs):
                if stop.is_made:
                    raise _interrupted(futures, out)
        except BrokenProcessPool as cause:
            if stop.is_made:  # whoever stopped the parent stopped the workers too
                raise _interrupted(futures, out) from cause
            raise MarginfaceError(
                f"a training process was killed, for want of memory perhaps; {out} holds what was "
                "saved; run the same command again to go on, with fewer jobs"
            ) from cause
        return [future.result() for future in futures]


def _interrupted(futures: list[Future[TrainResult]], out: Path) -> TrainingInterrupted:
    done = sum(future.done() and future.exception() is None for future in futures)
    return TrainingInterrupted(
        f"stopped with {done} of {len(futures)} runs trained; everything is in {out}; "
        "run the same command again to go on"
    )


def _watch(
    futures: list[Future[TrainResult]], runs: list[Run], configs: list[TrainConfig]
) -> Iterator[None]:
    """Show how many runs are done and how far the others are, until all are or one has failed.

    Yields:
        Nothing, every second or so, so that the caller may see to other things.
    """
    with progress_bar() as bar:
        task = bar.add_task("train", total=len(futures), note="")
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            shares = {
                run.variant.name: _share(run.folder, config)
                for run, config, future in zip(runs, configs, futures, strict=True)
                if future.running()
            }
            note = "  ".join(f"{name} {share:.0%}" for name, share in shares.items())
            count = len(futures) - len(pending) + sum(shares.values())
            bar.update(task, completed=count, note=note)
            yield


def _share(folder: Path, config: TrainConfig) -> float:
    """Return how far a run under way is, from 0 to 1, by its own log."""
    records = [record for record in read_log(folder / "log.jsonl") if "epoch" in record]
    if not records:
        return 0.0
    last = records[-1]
    done = last["step"] / config.steps if config.steps else last["epoch"] / (config.epochs or 1)
    return min(1.0, float(done))
