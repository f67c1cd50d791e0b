"""Time calls fairly and write rows: warm-up, interleaved rounds, percentiles, memory, machine.

A row: name, variant, mode (forward|backward|full), axis, value, metric, unit, p20, p50, p80,
device, torch, commit, date. Units stand in their column.
"""

import csv
import ctypes
import gc
import platform
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

RESULTS = Path(__file__).parent / "results"
Call = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    name: str
    variant: str
    mode: str
    axis: str
    value: str
    metric: str
    unit: str
    p20: float
    p50: float
    p80: float
    device: str
    torch: str
    commit: str
    date: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What the rounds of one variant gave: seconds on the wall and on the CPU, and memory."""

    wall_s: list[float]
    cpu_s: list[float]
    extra_mib: list[float]


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(
    variants: dict[str, Call], *, repeats: int = 5, warm_up: int = 1, settle: int = 0
) -> dict[str, Sample]:
    """Run every variant once per round, so that a busy neighbour slows all of them alike.

    The round after the warm-up measures memory, the others time. Each timed call follows `settle`
    untimed ones of its own, as a step of a training follows its like.
    """
    for call in variants.values():
        for _ in range(warm_up):
            call()
    samples = {name: Sample([], [], [extra_mib(call)]) for name, call in variants.items()}
    for _ in range(repeats):
        for name, call in variants.items():
            for _ in range(settle):
                call()
            synchronise()
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            synchronise()
            samples[name].wall_s.append(time.perf_counter() - wall)
            samples[name].cpu_s.append(time.process_time() - cpu)
    return samples


def extra_mib(call: Call) -> float:
    """Peak resident memory of a call above what stood before it; NaN where it cannot be read."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _field_mib(status, "VmRSS")
    call()
    return _field_mib(status, "VmHWM") - before


def _field_mib(status: Path, field: str) -> float:
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def rows_of(
    samples: dict[str, Sample], *, name: str, mode: str, axis: str, value: str
) -> list[Row]:
    """Three rows for each variant: wall time, CPU time, extra memory."""
    stamp = machine_stamp()
    rows = []
    for variant, sample in samples.items():
        for metric, unit, values in (
            ("wall_time", "s", sample.wall_s),
            ("cpu_time", "s", sample.cpu_s),
            ("extra_memory", "MiB", sample.extra_mib),
        ):
            p20, p50, p80 = (float(f"{p:.4g}") for p in np.percentile(values, (20, 50, 80)))
            rows.append(
                Row(
                    name=name,
                    variant=variant,
                    mode=mode,
                    axis=axis,
                    value=value,
                    metric=metric,
                    unit=unit,
                    p20=p20,
                    p50=p50,
                    p80=p80,
                    **stamp,
                )
            )
    return rows


def machine_stamp() -> dict[str, str]:
    """Device with its threads, torch, commit and date of a row."""
    return {
        "device": f"{_processor()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    answer = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "unknown"


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def replace_rows(path: Path, rows: list[Row]) -> None:
    """Write rows, and keep those the file holds of other names, axes and values."""
    kept = []
    if path.exists():
        with path.open(newline="") as file:
            kept = [Row(**row) for row in csv.DictReader(file)]
    new = {(row.name, row.axis, row.value) for row in rows}
    write_rows(path, [*(row for row in kept if (row.name, row.axis, row.value) not in new), *rows])


def show(rows: Iterable[Row]) -> None:
    for row in rows:
        print(
            f"{row.value:>12}  {row.variant:<28} {row.metric:<13}"
            f"{row.p50:>10.4g} {row.unit:<4} [{row.p20:.4g}, {row.p80:.4g}]"
        )
