"""Memory and time of a training step, part by part, from sizes and a few speeds.

A step has two moments at which memory may be highest:

    head       all activations, and what the head holds within its own pass
    way back   all activations, what passes between two layers, and all gradients

The second is a little too high, for gradients come as activations go.
"""

from dataclasses import dataclass, replace

from marginface.training.config import TrainConfig
from marginface.training.head_cost import head_cost
from marginface.training.machine import Speed
from marginface.training.network_cost import NetworkMemory

# Batches that the loader makes while one is in use.
BATCHES_AHEAD = 4


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a prediction starts from.

    Args:
        network: Memory of the backbone.
        base_bytes: A process with its libraries, before anything is built.
        free_bytes: What the device can give; None if it does not tell.
        speed: Of the head's work; None where the device is not here.
        picture_s: Forward and backward pass of the backbone; None likewise.
        data_s: Reading and changing one picture; None where no set is open.
        cached_bytes: Decoded pictures that the loader keeps.
        sharing: How many threads of the run want each core; 1 on a GPU.
    """

    network: NetworkMemory
    base_bytes: int
    free_bytes: int | None
    speed: Speed | None = None
    picture_s: float | None = None
    data_s: float | None = None
    cached_bytes: int = 0
    sharing: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one part of a step costs one process.

    Args:
        name: The part.
        kept_bytes: Between steps.
        peak_bytes: When the process holds most.
        seconds: Of a step; None if not measured.
    """

    name: str
    kept_bytes: int
    peak_bytes: int
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The parts of a step of one process."""

    parts: tuple[Part, ...]
    step_s: float | None

    @property
    def peak_bytes(self) -> int:
        """Memory at the highest moment."""
        return sum(part.peak_bytes for part in self.parts)

    @property
    def head_s(self) -> float:
        """Time of the head, 0 if not measured."""
        return next(part.seconds or 0.0 for part in self.parts if part.name == "head")


def predict(
    config: TrainConfig, identities: int, facts: Facts, *, processes: int = 1
) -> Prediction:
    """Return memory and time of a step of the process that has most to do.

    Args:
        config: The run.
        identities: Classes of all processes.
        facts: Measured or counted before.
        processes: How many share batch and classes.
    """
    head = head_cost(config, identities, processes=processes)
    memory, network = head.memory(), facts.network
    at_once = -(-config.batch_size // config.accumulate // processes)
    pictures, is_split = at_once * config.accumulate, config.accumulate > 1
    activations = network.fixed + at_once * network.per_picture
    of_network, of_head = max(
        # The gradients of the micro-batches before are there already.
        (activations + is_split * network.gradient, memory.within + is_split * memory.gradient),
        (activations + at_once * network.passing + network.gradient, memory.gradient),
        key=sum,
    )
    kept = _kept_by_network(config, network, processes)
    data = facts.cached_bytes + _picture_bytes(config, pictures, at_once)
    parts = [
        Part(name="process", kept_bytes=facts.base_bytes, peak_bytes=facts.base_bytes, seconds=0.0),
        Part(name="data", kept_bytes=data, peak_bytes=data, seconds=None),
        Part(name="backbone", kept_bytes=kept, peak_bytes=kept + of_network, seconds=None),
        Part(name="head", kept_bytes=memory.kept, peak_bytes=memory.kept + of_head, seconds=None),
    ]
    if facts.speed is None or facts.picture_s is None:
        return Prediction(parts=tuple(parts), step_s=None)
    # Fused descent reads three tensors and writes two; clipping reads one twice and writes it. A
    # second mean is read and written too.
    descent = (8 + 2 * max(0, config.optimizer.moments - 1)) * network.gradient
    descent += 3 * network.weights if config.ema_decay is not None else 0
    times = {
        "data": pictures * (facts.data_s or 0.0) / max(1, config.data.workers),
        "backbone": facts.sharing * pictures * facts.picture_s
        + facts.sharing * descent / facts.speed.streamed_bytes,
        "head": facts.sharing * config.accumulate * facts.speed.seconds(head.work()),
    }
    parts = [replace(part, seconds=times.get(part.name, part.seconds)) for part in parts]
    computing = times["backbone"] + times["head"]
    is_ahead = config.data.workers > 0
    step_s = max(times["data"], computing) if is_ahead else times["data"] + computing
    return Prediction(parts=tuple(parts), step_s=step_s)


def _kept_by_network(config: TrainConfig, network: NetworkMemory, processes: int) -> int:
    kept = network.weights
    kept += config.optimizer.moments * network.gradient
    kept += network.weights if config.ema_decay is not None else 0
    # Buckets, in which the gradients of several processes meet.
    return kept + (network.gradient if processes > 1 else 0)


def _picture_bytes(config: TrainConfig, pictures: int, at_once: int) -> int:
    """Return the bytes of batches made ahead, of a byte a colour, and of the one in use."""
    colours = 3 * config.backbone.input_size**2
    ahead = BATCHES_AHEAD if config.data.workers else 0
    return colours * (
        (ahead + 1) * pictures + (8 if config.precision == "float64" else 4) * at_once
    )
