"""What a run will cost, before it starts: memory, time, better settings, and whether it fits.

Memory follows from sizes: activations are counted on a network without numbers, the head's matrices
from its cost model. Time follows from one or two small steps of the backbone and from the speed of
a few pieces of the head's work, both measured here and now. `docs/planning.md` has predictions and
measurements side by side.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from marginface.data import FaceSet
from marginface.training.advice import GIB, Advice, advise
from marginface.training.build import check_processes, make_batches, total_steps
from marginface.training.config import TrainConfig
from marginface.training.head_cost import head_cost
from marginface.training.machine import cores, free_bytes, measure_speed, own_bytes, seconds_of
from marginface.training.network_cost import count_memory, measure_picture_s
from marginface.training.prediction import Facts, Part, predict

PICTURES_READ = 32
# What a loader keeps decoded by default, if the whole set fits.
LOADER_CACHE = 1 << 29


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one process of a run costs.

    Args:
        device: Where it runs.
        processes: How many share batch and classes.
        identities: Classes of all processes.
        batch_size: Pictures of a step, of all processes.
        parts: Memory and time by part.
        peak_bytes: Memory at the highest moment of a step.
        free_bytes: What this process and the device have to give; None if it is not told.
        step_s: Seconds of a step, None where nothing could be measured.
        steps: Length of the run; None where it is given in epochs of a set that is not open.
        advice: On every setting that decides what the head costs.
        warnings: What keeps the run from fitting.
        notes: What the prediction leaves out.
    """

    device: str
    processes: int
    identities: int
    batch_size: int
    parts: tuple[Part, ...]
    peak_bytes: int
    free_bytes: int | None
    step_s: float | None
    steps: int | None
    advice: tuple[Advice, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def hours(self) -> float | None:
        """Hours of the whole run, without validation and checkpoints."""
        if self.step_s is None or self.steps is None:
            return None
        return self.step_s * self.steps / 3600

    @property
    def images_per_s(self) -> float | None:
        """Pictures a second, of all processes."""
        return None if self.step_s is None else self.batch_size / self.step_s

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        derived = {"hours": self.hours, "images_per_s": self.images_per_s}
        return asdict(self) | derived


def plan(
    config: TrainConfig,
    identities: int,
    *,
    processes: int = 1,
    faces: FaceSet | None = None,
    facts: Facts | None = None,
) -> Plan:
    """Predict what a run costs in memory and time; nothing is trained, and no data is needed.

    Args:
        config: The run.
        identities: Number of classes.
        processes: How many share batch and classes; on a processor all of them on this machine.
        faces: The set, for the length of the run and the time to read pictures.
        facts: What was measured before; nothing to measure now, which takes some seconds.

    Raises:
        ValueError: If a name or option is unknown, or a number is out of range.
    """
    _check(config, identities, processes)
    if facts is None:
        facts = measure(config, identities, processes=processes, faces=faces)
    found = predict(config, identities, facts, processes=processes)
    steps = config.steps
    if faces is not None:
        steps = total_steps(config, len(faces))
    return Plan(
        device=config.device,
        processes=processes,
        identities=identities,
        batch_size=config.batch_size,
        parts=found.parts,
        peak_bytes=found.peak_bytes,
        free_bytes=facts.free_bytes,
        step_s=found.step_s,
        steps=steps,
        advice=advise(config, identities, facts, processes=processes),
        warnings=_warnings(config, found.peak_bytes, facts, processes),
        notes=_notes(config, facts, processes, has_data=faces is not None),
    )


def memory_warnings(config: TrainConfig, identities: int, *, processes: int = 1) -> tuple[str, ...]:
    """Return what keeps a run from fitting into memory; nothing is measured, nothing refused.

    Args:
        config: The run.
        identities: Number of classes.
        processes: How many share batch and classes.
    """
    _check(config, identities, processes)
    facts = _counted(config, processes)
    peak = predict(config, identities, facts, processes=processes).peak_bytes
    return _warnings(config, peak, facts, processes)


def measure(
    config: TrainConfig, identities: int, *, processes: int = 1, faces: FaceSet | None = None
) -> Facts:
    """Count the backbone's memory and measure speeds; without its device, count alone."""
    facts = _counted(config, processes)
    if not _is_here(config.device):
        return facts
    cost = head_cost(config, identities, processes=processes)
    facts = replace(
        facts,
        speed=measure_speed(cost, config.device),
        picture_s=measure_picture_s(config, most=_pictures_that_fit(facts)),
    )
    if faces is None:
        return facts
    return replace(facts, data_s=_read_s(config, faces), cached_bytes=_cached_bytes(config, faces))


def _check(config: TrainConfig, identities: int, processes: int) -> None:
    if identities < 2:
        raise ValueError(f"identities must be at least 2, got {identities}")
    if processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    check_processes(config, processes)
    if not _is_device(config.device):
        raise ValueError(
            f"device must be one torch can train on, got {config.device!r}; leave it out for cpu"
        )


def _is_device(name: str) -> bool:
    try:
        return torch.device(name).type != "meta"
    except RuntimeError:
        return False


def _counted(config: TrainConfig, processes: int) -> Facts:
    is_on_cpu = torch.device(config.device).type == "cpu"
    base, free = own_bytes() if is_on_cpu else 0, free_bytes(config.device)
    return Facts(
        network=count_memory(config),
        base_bytes=base,
        free_bytes=None if free is None else free + base,
        sharing=max(1.0, processes * torch.get_num_threads() / cores()) if is_on_cpu else 1.0,
    )


def _is_here(device: str) -> bool:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        return False
    return True


def _pictures_that_fit(facts: Facts) -> int | None:
    """Return how many pictures the free memory takes through the backbone and back."""
    if facts.free_bytes is None:
        return None
    network = facts.network
    room = facts.free_bytes - facts.base_bytes - network.weights - network.gradient - network.fixed
    return max(0, room // max(1, network.per_picture + network.passing))


def _read_s(config: TrainConfig, faces: FaceSet) -> float:
    """Return the seconds to read and change a picture, in one thread, the file in memory."""
    pictures = min(PICTURES_READ, len(faces))
    part = replace(config, batch_size=pictures, accumulate=1)
    with make_batches(part, faces, start_step=0) as batches:
        return min(seconds_of(lambda: batches.make(0), "cpu") for _ in range(3)) / pictures


def _cached_bytes(config: TrainConfig, faces: FaceSet) -> int:
    """Return the memory of decoded pictures, which the loader keeps if all of them find room."""
    side = config.backbone.input_size
    is_ready = faces.size == (side, side) and getattr(faces, "encoding", "raw") == "raw"
    needed = 3 * side**2 * len(faces)
    return 0 if is_ready or needed > LOADER_CACHE else needed


def _warnings(config: TrainConfig, peak: int, facts: Facts, processes: int) -> tuple[str, ...]:
    free = facts.free_bytes
    is_on_cpu = torch.device(config.device).type == "cpu"
    needed = peak * (processes if is_on_cpu else 1)
    if free is None or needed <= free:
        return ()
    each = f"{processes} processes of {peak / GIB:.1f} GiB each" if processes > 1 else "this run"
    where = "this machine has" if is_on_cpu else f"{config.device} has"
    return (
        f"{each} may need {needed / GIB:.1f} GiB at the peak of a step, {where} "
        f"{free / GIB:.1f} GiB to give; `marginface train ... --plan` tells what takes less",
    )


def _notes(config: TrainConfig, facts: Facts, processes: int, *, has_data: bool) -> tuple[str, ...]:
    notes = ["validation, checkpoints and the first step are not in it"]
    if facts.speed is None:
        notes.append(f"{config.device} is not on this machine: memory alone, and from the model")
    elif facts.picture_s is None:
        notes.append(
            "free memory does not take even 2 pictures: nothing was tried, no time is known"
        )
    elif torch.device(config.device).type != "cpu":
        notes.append("the memory model has been held to measurements on processors only")
    if not has_data:
        notes.append("no set is open: reading pictures takes no time in it")
    if config.reconstruction is not None:
        notes.append("the reconstruction branch is not in it, neither memory nor time")
    if processes > 1:
        sent = 4 * config.batch_size * config.backbone.dim / (1 << 20)
        of_network = facts.network.gradient / (1 << 20)
        notes.append(
            f"communication takes no time in it: a process sends {sent:,.1f} MiB of features and "
            f"some {2 * of_network:,.1f} MiB of gradients a step"
        )
    return tuple(notes)
