"""The training loop: batches in, weights on, and nothing lost whatever stops it.

Everything a step depends on is in the checkpoint or is a pure function of the step, so a run that
was killed and resumed writes the same model, bit for bit, as one that never stopped (on the same
machine with the same number of threads and processes).

On several processes every one of them runs this loop, each with its part of a batch. Process 0
alone writes, draws and looks at the clock; after each step all agree on what comes next.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from marginface.data import Batch, BatchLoader, FaceSet
from marginface.errors import NonFiniteLossError
from marginface.recognition import save_model
from marginface.reconstruction import save_reconstructor
from marginface.training import rundir
from marginface.training.build import (
    build_parts,
    make_batches,
    open_training_data,
    total_steps,
)
from marginface.training.checkpoint import Checkpoint, remove_others, write_checkpoint
from marginface.training.config import TrainConfig
from marginface.training.describe import make_contract, run_identity, start_of
from marginface.training.interrupts import StopRequest, TrainingInterrupted, listen_for_stop
from marginface.training.nonfinite import report_nonfinite
from marginface.training.optimizer import set_rate
from marginface.training.position import Position
from marginface.training.processes import Processes, joined_processes, local_device
from marginface.training.rundir import TrainResult
from marginface.training.same_run import check_same_everywhere
from marginface.training.schedule import rate_at
from marginface.training.seeds import random_stream
from marginface.training.sole_run import sole_run
from marginface.training.step import StepOutcome, take_step
from marginface.training.telling import Telling

Validate = Callable[[int, nn.Module], dict[str, float]]


def train(
    config: TrainConfig,
    run_dir: Path,
    *,
    resume: bool = True,
    validate: Validate | None = None,
    validate_every: int | None = None,
    is_quiet: bool = False,
    faces: FaceSet | None = None,
) -> TrainResult:
    """Train as described, into a folder; go on where an earlier call with the same config stopped.

    The folder then holds `config.json`, `log.jsonl`, `tensorboard/`, a checkpoint,
    `model.safetensors`, with reconstruction `reconstruction.safetensors` too, and `result.json`. A
    finished run is not trained again.

    A process that torchrun or `launch` started trains as one of several, all of which make this
    call and see the same folder; so does one whose process group is initialised already.

    Args:
        config: The run.
        run_dir: Its folder, made if absent.
        resume: Whether to go on from the folder's checkpoint; otherwise the old run is removed.
        validate: Called with the step and the network in evaluation mode, in process 0; what it
            returns is logged. It cannot disturb the run.
        validate_every: Steps between validations; the last step always has one.
        is_quiet: Whether to draw no progress.
        faces: What `open_training_data` returned for this config; otherwise it is called here.

    Raises:
        DataError: If the data cannot be used.
        CheckpointMismatchError: If the folder holds another run.
        NonFiniteLossError: If loss or gradient turn NaN or infinite; the checkpoint stays.
        CheckpointWriteError: If the disk refuses, or another run is at work in the folder; the last
            checkpoint stays.
        TrainingInterrupted: If SIGINT or SIGTERM came; a checkpoint has been saved.
        ProcessMismatchError: If the processes were not started for the same run.
        ProcessGroupError: If a process was lost, or waited for in vain; the checkpoint stays.
    """
    with joined_processes(config.device, timeout_s=config.timeout_s) as processes:
        pack = open_training_data(config) if faces is None else faces
        identity = run_identity(config, pack)
        check_same_everywhere(processes, start_of(config, identity, run_dir, resume=resume))
        if resume and (done := rundir.finished_result(run_dir, identity)) is not None:
            return done
        here = replace(config, device=local_device(config.device))
        stream = "training" if processes.is_first else f"training/{processes.rank}"
        with random_stream(config.seed, stream, device=here.device):
            # Built before anything is removed: a wrong name must not cost the old run.
            run = _Run(here, run_dir, pack, identity, processes, is_quiet=is_quiet)
            with sole_run(run_dir, processes):
                if processes.is_first:
                    rundir.prepare(run_dir, removes_run=not resume)
                processes.wait()
                run.restore()
                if processes.is_first:
                    rundir.write_config(run_dir, config, pack, processes)
                return run.go(validate, validate_every)


@dataclass
class _Run:
    config: TrainConfig
    run_dir: Path
    pack: FaceSet
    identity: dict[str, Any]
    processes: Processes
    is_quiet: bool

    def __post_init__(self) -> None:
        self.total = total_steps(self.config, len(self.pack))
        self.parts = build_parts(self.config, self.pack, self.processes)
        self.at = Position()
        self.saved_at = time.monotonic()

    def restore(self) -> None:
        """Take over the checkpoint of the folder, if there is one."""
        found = rundir.load_checkpoint(
            self.run_dir,
            self.identity,
            self.parts.live_tensors(),
            self.parts.split,
            seed=self.config.seed,
            device=self.config.device,
            processes=self.processes,
        )
        if found is not None:
            self.at = Position(step=found.step, **found.progress)
            if self.processes.is_first:
                # A kill may have come before the older ones went.
                remove_others(found.path)

    def go(self, validate: Validate | None, validate_every: int | None) -> TrainResult:
        """Do the steps that are left and write the model."""
        with (
            Telling(
                self.run_dir,
                self.config,
                self.at,
                total=self.total,
                is_first=self.processes.is_first,
                is_quiet=self.is_quiet,
            ) as telling,
            listen_for_stop() as stop,
        ):
            self._steps(telling, stop, validate, validate_every)
        return self._finish()

    def _steps(
        self,
        telling: Telling,
        stop: StopRequest,
        validate: Validate | None,
        validate_every: int | None,
    ) -> None:
        if self._is_over():
            return
        with make_batches(
            self.config, self.pack, start_step=self.at.step, processes=self.processes
        ) as batches:
            before = time.monotonic()
            for batch in batches:
                outcome = self._step(batch, batches)
                now = time.monotonic()
                self.at.seconds += now - before
                before = now
                self.at.count(outcome)
                telling.show(self.at, outcome)
                if self._is_turn(self.config.log_every):
                    lr = self.parts.optimizer.param_groups[0]["lr"]
                    telling.log(self.at, images=len(self.pack), lr=lr)
                if validate is not None and self._is_turn(validate_every):
                    self._validate(telling, validate)
                    before = time.monotonic()
                is_stopped, is_due, is_over = self._agreed(stop)
                if is_stopped or is_due or is_over:
                    self._save()
                if is_stopped:
                    raise TrainingInterrupted(
                        f"stopped after step {self.at.step:,} of {self.total:,}; everything is in "
                        f"{self.run_dir}; run the same command again to go on"
                    )
                if is_over:
                    return

    def _step(self, batch: Batch, batches: BatchLoader) -> StepOutcome:
        config, step = self.config, self.at.step
        rate = rate_at(step, total=self.total, schedule=config.schedule)
        set_rate(self.parts.optimizer, config.optimizer.lr * rate)
        outcome = take_step(
            self.parts.learner,
            self.parts.head,
            self.parts.optimizer,
            batch.images.to(config.device),
            batch.labels.to(config.device),
            processes=self.processes,
            accumulate=config.accumulate,
            clip_norm=config.clip_norm,
            uses_bf16=config.precision == "bf16",
            channels_last=config.channels_last,
            branch=self.parts.branch,
            share=step / self.total,
        )
        if not outcome.is_finite:
            raise self._not_finite(outcome, batches)
        if self.parts.ema is not None:
            self.parts.ema.update_parameters(self.parts.backbone)
        return outcome

    def _not_finite(self, outcome: StepOutcome, batches: BatchLoader) -> NonFiniteLossError:
        """Say which pictures of the whole batch are to blame."""
        is_broken = np.zeros(self.config.batch_size)
        is_broken[batches.places[outcome.broken_rows]] = 1
        rows = np.flatnonzero(self.processes.highest(*is_broken.tolist())).tolist()
        indices = batches.indices(self.at.step)
        return report_nonfinite(
            self.run_dir,
            [self.pack.names[index] for index in indices.tolist()],
            self.pack.labels[indices].tolist(),
            replace(outcome, broken_rows=rows),
            step=self.at.step + 1,
            processes=self.processes,
        )

    def _agreed(self, stop: StopRequest) -> list[bool]:
        """Return whether to stop, to save, and whether the run is over, as all processes do.

        Any of them may be asked to stop; the clock is that of process 0.
        """
        asks = self.processes.is_first
        found = self.processes.highest(
            stop.is_made, asks and self._is_due(), asks and self._is_over()
        )
        return [bool(value) for value in found]

    def _is_turn(self, every: int | None) -> bool:
        return self.at.step == self.total or (every is not None and self.at.step % every == 0)

    def _is_over(self) -> bool:
        limit = self.config.time_limit_s
        return self.at.step >= self.total or (limit is not None and self.at.seconds >= limit)

    def _is_due(self) -> bool:
        by_step, by_time = self.config.checkpoint_every_steps, self.config.checkpoint_every_s
        return (by_step is not None and self.at.step % by_step == 0) or (
            by_time is not None and time.monotonic() - self.saved_at >= by_time
        )

    def _validate(self, telling: Telling, validate: Validate) -> None:
        if not self.processes.is_first:
            return
        backbone = self.parts.final_backbone.eval()
        with random_stream(self.config.seed, "validation", device=self.config.device):
            metrics = validate(self.at.step, backbone)
        self.parts.start_training()
        telling.log_validation(self.at.step, metrics)

    def _save(self) -> None:
        config = self.config
        checkpoint = Checkpoint(
            step=self.at.step,
            tensors=self.parts.live_tensors() | rundir.random_state(config.device, self.processes),
            identity=self.identity,
            progress=self.at.progress(),
            contract=make_contract(config, self.pack).to_metadata(),
            split=self.parts.split,
        )
        write_checkpoint(self.run_dir, checkpoint, self.processes)
        self.saved_at = time.monotonic()

    def _finish(self) -> TrainResult:
        result = TrainResult(
            model_path=self.run_dir / rundir.MODEL,
            steps=self.at.step,
            seconds=self.at.seconds,
            images_per_s=self.at.images_per_s(self.config.batch_size),
            is_complete=self.at.step >= self.total,
            final_loss=self.at.final_loss,
        )
        if self.processes.is_first:
            if (branch := self.parts.branch) is not None:
                save_reconstructor(
                    self.run_dir / rundir.RECONSTRUCTION,
                    branch.networks,
                    decoder_input=branch.config.decoder_input,
                )
            contract = make_contract(self.config, self.pack)
            save_model(result.model_path, self.parts.model_backbone(), contract)
            rundir.write_result(self.run_dir, result, self.identity)
        self.processes.wait()
        return result
