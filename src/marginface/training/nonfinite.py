"""What is left behind when a loss or gradient turns NaN or infinite: which pictures, and where."""

import json
import math
from pathlib import Path

from marginface.errors import NonFiniteLossError
from marginface.files import write_atomically
from marginface.training.processes import ALONE, Processes
from marginface.training.step import StepOutcome


def report_nonfinite(
    run_dir: Path,
    names: list[str],
    labels: list[int],
    outcome: StepOutcome,
    *,
    step: int,
    processes: Processes = ALONE,
) -> NonFiniteLossError:
    """Write the batch's picture names beside the run and return the error to raise.

    The culprits are the pictures whose own feature is not finite. Batch normalisation spreads one
    bad row over all, and a gradient belongs to no row, so they may be the whole batch.

    Args:
        run_dir: The run's folder, which gets `nonfinite_step_N.json`.
        names: Of the pictures of the whole batch.
        labels: Of the whole batch.
        outcome: What the step saw; its broken rows are those of the whole batch.
        step: The step that failed, counted from 1.
        processes: Those of the run; the first one writes.
    """
    culprits = [names[row] for row in outcome.broken_rows] or names
    path = run_dir / f"nonfinite_step_{step}.json"
    report = {
        "step": step,
        "loss": str(outcome.loss),
        "gradient_norm": str(outcome.gradient_norm),
        "culprits": culprits,
        "batch": names,
        "labels": labels,
    }
    if processes.is_first:
        write_atomically(path, json.dumps(report, indent=1) + "\n")
    if math.isfinite(outcome.loss):
        met = f"gradient norm of step {step} must be finite, got {outcome.gradient_norm}"
    else:
        met = f"loss of step {step} must be finite, got {outcome.loss}"
    shown = ", ".join(culprits[:3]) + (", …" if len(culprits) > 3 else "")
    return NonFiniteLossError(
        f"{met}, from {len(culprits)} of {len(names)} pictures ({shown}; all in {path}); the last "
        "checkpoint is untouched; lower optimizer.lr or lengthen the warm-up"
    )
