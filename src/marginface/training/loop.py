"""The training loop: batches in, weights on, and nothing lost whatever stops it.

Everything a step depends on is in the checkpoint or is a pure function of the step, so a run that
was killed and resumed writes the same model, bit for bit, as one that never stopped (on the same
machine with the same number of threads).
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.progress import Progress, TaskID
from torch import nn

from marginface.data import Batch, FaceSet
from marginface.progress import progress_bar
from marginface.recognition import save_model
from marginface.reconstruction import save_reconstructor
from marginface.training import rundir
from marginface.training.build import (
    Parts,
    build_parts,
    make_batches,
    make_contract,
    open_training_data,
    run_identity,
    total_steps,
)
from marginface.training.checkpoint import Checkpoint, write_checkpoint
from marginface.training.config import TrainConfig
from marginface.training.interrupts import StopRequest, TrainingInterrupted, listen_for_stop
from marginface.training.nonfinite import report_nonfinite
from marginface.training.optimizer import set_rate
from marginface.training.rundir import TrainResult
from marginface.training.runlog import RunLog
from marginface.training.schedule import rate_at
from marginface.training.seeds import random_stream
from marginface.training.step import StepOutcome, take_step

Validate = Callable[[int, nn.Module], dict[str, float]]


@dataclass
class _Position:
    """How far the run is, and what its next log record holds so far."""

    step: int = 0
    seconds: float = 0.0
    window: dict[str, float] = field(default_factory=dict)
    final_loss: float | None = None


def train(
    config: TrainConfig,
    run_dir: Path,
    *,
    resume: bool = True,
    validate: Validate | None = None,
    validate_every: int | None = None,
    is_quiet: bool = False,
) -> TrainResult:
    """Train as described, into a folder; go on where an earlier call with the same config stopped.

    The folder then holds `config.json`, `log.jsonl`, `tensorboard/`, `checkpoint.safetensors`,
    `model.safetensors`, with reconstruction `reconstruction.safetensors` too, and `result.json`. A
    finished run is not trained again.

    Args:
        config: The run.
        run_dir: Its folder, made if absent.
        resume: Whether to go on from the folder's checkpoint; otherwise the old run is removed.
        validate: Called with the step and the network in evaluation mode; what it returns is
            logged. It cannot disturb the run.
        validate_every: Steps between validations; the last step always has one.
        is_quiet: Whether to draw no progress.

    Raises:
        DataError: If the data cannot be used.
        CheckpointMismatchError: If the folder holds another run.
        NonFiniteLossError: If loss or gradient turn NaN or infinite; the checkpoint stays.
        CheckpointWriteError: If the disk refuses; the last checkpoint stays.
        TrainingInterrupted: If SIGINT or SIGTERM came; a checkpoint has been saved.
    """
    pack = open_training_data(config)
    if resume and (done := rundir.finished_result(run_dir, run_identity(config, pack))) is not None:
        return done
    with random_stream(config.seed, "training", device=config.device):
        # Built before anything is removed: a wrong name must not cost the old run.
        run = _Run(config, run_dir, pack, is_quiet=is_quiet)
        rundir.prepare(run_dir, removes_run=not resume)
        run.restore()
        rundir.write_config(run_dir, config)
        return run.go(validate, validate_every)


class _Run:
    def __init__(
        self, config: TrainConfig, run_dir: Path, pack: FaceSet, *, is_quiet: bool
    ) -> None:
        self.config = config
        self.run_dir = run_dir
        self.pack = pack
        self.is_quiet = is_quiet
        self.identity = run_identity(config, pack)
        self.total = total_steps(config, len(pack))
        self.parts: Parts = build_parts(config, pack)
        self.at = _Position()
        self.saved_at = time.monotonic()

    def restore(self) -> None:
        """Take over the checkpoint of the folder, if there is one."""
        found = rundir.load_checkpoint(
            self.run_dir, self.identity, self.parts.live_tensors(), device=self.config.device
        )
        if found is not None:
            step, progress = found
            self.at = _Position(step=step, **progress)

    def go(self, validate: Validate | None, validate_every: int | None) -> TrainResult:
        """Do the steps that are left and write the model."""
        with (
            RunLog(
                self.run_dir, step=self.at.step, keeps_tensorboard=self.config.keeps_tensorboard
            ) as log,
            progress_bar(is_quiet=self.is_quiet) as bar,
            listen_for_stop() as stop,
        ):
            task = bar.add_task(
                f"train {self.config.loss.name}",
                total=self.total,
                completed=self.at.step,
                note="",
            )
            self._steps(log, stop, (bar, task), validate, validate_every)
        return self._finish()

    def _steps(
        self,
        log: RunLog,
        stop: StopRequest,
        shown: tuple[Progress, TaskID],
        validate: Validate | None,
        validate_every: int | None,
    ) -> None:
        if self._is_over():
            return
        with make_batches(self.config, self.pack, start_step=self.at.step) as batches:
            before = time.monotonic()
            for batch in batches:
                outcome = self._step(batch)
                now = time.monotonic()
                self.at.seconds += now - before
                before = now
                self._count(outcome)
                self._show(shown, outcome)
                self._log(log)
                if validate is not None and self._is_turn(validate_every):
                    self._validate(log, validate)
                    before = time.monotonic()
                self._save_if_due(is_forced=stop.is_made)
                if stop.is_made:
                    raise TrainingInterrupted(
                        f"stopped after step {self.at.step:,} of {self.total:,}; everything is in "
                        f"{self.run_dir}; run the same command again to go on"
                    )
                if self._is_over():
                    return

    def _step(self, batch: Batch) -> StepOutcome:
        config, step = self.config, self.at.step
        rate = rate_at(step, total=self.total, schedule=config.schedule)
        set_rate(self.parts.optimizer, config.optimizer.lr * rate)
        outcome = take_step(
            self.parts.backbone,
            self.parts.head,
            self.parts.optimizer,
            batch.images.to(config.device),
            batch.labels.to(config.device),
            accumulate=config.accumulate,
            clip_norm=config.clip_norm,
            uses_bf16=config.precision == "bf16",
            channels_last=config.channels_last,
            branch=self.parts.branch,
            share=step / self.total,
        )
        if not outcome.is_finite:
            raise report_nonfinite(self.run_dir, self.pack, batch, outcome, step=step + 1)
        if self.parts.ema is not None:
            self.parts.ema.update_parameters(self.parts.backbone)
        return outcome

    def _count(self, outcome: StepOutcome) -> None:
        self.at.step += 1
        seen = {"steps": 1.0, "loss": outcome.loss, "gradient_norm": outcome.gradient_norm}
        for name, value in (seen | outcome.statistics).items():
            self.at.window[name] = self.at.window.get(name, 0.0) + value

    def _is_turn(self, every: int | None) -> bool:
        return self.at.step == self.total or (every is not None and self.at.step % every == 0)

    def _is_over(self) -> bool:
        limit = self.config.time_limit_s
        return self.at.step >= self.total or (limit is not None and self.at.seconds >= limit)

    def _images_per_s(self) -> float:
        return self.at.step * self.config.batch_size / max(self.at.seconds, 1e-9)

    def _show(self, shown: tuple[Progress, TaskID], outcome: StepOutcome) -> None:
        bar, task = shown
        note = f"{self._images_per_s():,.0f} images/s  loss {outcome.loss:.3f}"
        bar.update(task, completed=self.at.step, note=note)

    def _log(self, log: RunLog) -> None:
        """Write the means since the last record, when it is time."""
        if not self._is_turn(self.config.log_every):
            return
        count = self.at.window.pop("steps")
        means = {name: value / count for name, value in self.at.window.items()}
        self.at.window, self.at.final_loss = {}, means["loss"]
        rates = {
            "epoch": self.at.step * self.config.batch_size / len(self.pack),
            "lr": self.parts.optimizer.param_groups[0]["lr"],
            "images_per_s": self._images_per_s(),
            "seconds": self.at.seconds,
        }
        log.write({"step": self.at.step} | means | rates, group="train")

    def _validate(self, log: RunLog, validate: Validate) -> None:
        backbone = self.parts.final_backbone.eval()
        with random_stream(self.config.seed, "validation", device=self.config.device):
            metrics = validate(self.at.step, backbone)
        self.parts.start_training()
        log.write({"step": self.at.step, "validation": metrics}, group="validation")

    def _save_if_due(self, *, is_forced: bool) -> None:
        config, now = self.config, time.monotonic()
        by_step = config.checkpoint_every_steps
        by_time = config.checkpoint_every_s
        is_due = (by_step is not None and self.at.step % by_step == 0) or (
            by_time is not None and now - self.saved_at >= by_time
        )
        if is_due or is_forced or self._is_over():
            self._save()
            self.saved_at = time.monotonic()

    def _save(self) -> None:
        progress = {key: value for key, value in asdict(self.at).items() if key != "step"}
        tensors = self.parts.live_tensors() | rundir.random_state(self.config.device)
        checkpoint = Checkpoint(
            step=self.at.step, tensors=tensors, identity=self.identity, progress=progress
        )
        write_checkpoint(self.run_dir / rundir.CHECKPOINT, checkpoint)

    def _finish(self) -> TrainResult:
        model_path = self.run_dir / rundir.MODEL
        if (branch := self.parts.branch) is not None:
            save_reconstructor(
                self.run_dir / rundir.RECONSTRUCTION,
                branch.networks,
                decoder_input=branch.config.decoder_input,
            )
        save_model(model_path, self.parts.final_backbone, make_contract(self.config, self.pack))
        result = TrainResult(
            model_path=model_path,
            steps=self.at.step,
            seconds=self.at.seconds,
            images_per_s=self._images_per_s(),
            is_complete=self.at.step >= self.total,
            final_loss=self.at.final_loss,
        )
        rundir.write_result(self.run_dir, result, self.identity)
        return result
