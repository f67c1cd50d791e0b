"""What a run shows while it goes on: a bar on the terminal and records in the log."""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from marginface.progress import progress_bar
from marginface.training.config import TrainConfig
from marginface.training.position import Position
from marginface.training.runlog import RunLog, read_log
from marginface.training.step import StepOutcome


class Telling:
    """Draw progress and write the log of a run, or neither in any process but the first.

    Args:
        run_dir: The run's folder.
        config: The run.
        position: Where it goes on from.
        total: Steps of the whole run.
        is_first: Whether this process is the one that tells.
        is_quiet: Whether to draw nothing all the same.
    """

    def __init__(
        self,
        run_dir: Path,
        config: TrainConfig,
        position: Position,
        *,
        total: int,
        is_first: bool,
        is_quiet: bool,
    ) -> None:
        self._batch_size = config.batch_size
        self._held = ExitStack()
        self._log = None
        if is_first:
            log = RunLog(run_dir, step=position.step, keeps_tensorboard=config.keeps_tensorboard)
            self._log = self._held.enter_context(log)
            self._log_corruption(run_dir, config)
        self._bar = progress_bar(is_quiet=is_quiet or not is_first)
        self._task = self._bar.add_task(
            f"train {config.loss.name}", total=total, completed=position.step, note=""
        )

    def __enter__(self) -> "Telling":
        self._held.enter_context(self._bar)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.__exit__(kind, error, trace)

    def show(self, position: Position, outcome: StepOutcome) -> None:
        """Move the bar."""
        rate = position.images_per_s(self._batch_size)
        note = f"{rate:,.0f} images/s  loss {outcome.loss:.3f}"
        self._bar.update(self._task, completed=position.step, note=note)

    def log(self, position: Position, *, images: int, lr: float) -> None:
        """Write the means since the last record.

        Args:
            position: It begins new means.
            images: Pictures of an epoch.
            lr: Learning rate of the last step.
        """
        record = {"step": position.step} | position.means()
        record |= {
            "epoch": position.step * self._batch_size / images,
            "lr": lr,
            "images_per_s": position.images_per_s(self._batch_size),
            "seconds": position.seconds,
        }
        if self._log is not None:
            self._log.write(record, group="train")

    def _log_corruption(self, run_dir: Path, config: TrainConfig) -> None:
        """Let the log begin with what was done to the data, once, whatever is gone on from."""
        has_begun = bool(read_log(run_dir / "log.jsonl"))
        if self._log is not None and config.data.corruption.is_any and not has_begun:
            self._log.write({"step": 0} | asdict(config.data.corruption), group="data")

    def log_validation(self, step: int, metrics: dict[str, float]) -> None:
        """Write what a validation found."""
        if self._log is not None:
            self._log.write({"step": step, "validation": metrics}, group="validation")
