"""How far a run is, and what its next log record holds so far."""

from dataclasses import asdict, dataclass, field
from typing import Any

from marginface.training.step import StepOutcome


@dataclass
class Position:
    """The place of a run between two steps; all of it is in the checkpoint.

    Args:
        step: Optimiser steps taken.
        seconds: Time spent training, over all sittings.
        window: Sums since the last log record, by name.
        final_loss: Mean of the last log record.
    """

    step: int = 0
    seconds: float = 0.0
    window: dict[str, float] = field(default_factory=dict)
    final_loss: float | None = None

    def progress(self) -> dict[str, Any]:
        """Return all but the step, as plain values."""
        return {key: value for key, value in asdict(self).items() if key != "step"}

    def count(self, outcome: StepOutcome) -> None:
        """Take one more step into account."""
        self.step += 1
        seen = {"steps": 1.0, "loss": outcome.loss, "gradient_norm": outcome.gradient_norm}
        for name, value in (seen | outcome.statistics).items():
            self.window[name] = self.window.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """Return the means since the last call, and begin anew."""
        count = self.window.pop("steps")
        means = {name: value / count for name, value in self.window.items()}
        self.window, self.final_loss = {}, means["loss"]
        return means

    def images_per_s(self, batch_size: int) -> float:
        """Return the pictures learnt from in a second, over all sittings."""
        return self.step * batch_size / max(self.seconds, 1e-9)
