"""What the backbone costs: its memory counted on a network without numbers, its time measured.

The count runs the network on torch's meta device, where tensors have shapes and no contents, for
two numbers of pictures; what autograd keeps for the way back is a straight line through both.
"""

from dataclasses import dataclass

import torch
from torch import nn

from marginface.axes import Tensor
from marginface.backbones import make_backbone
from marginface.training.config import TrainConfig
from marginface.training.machine import seconds_of
from marginface.training.optimizer import freeze

COUNTED = (2, 4)
# How many times the largest activation, measured over several networks and batches.
PASSING = 8
# Few pictures first; more of them, nearer to a real batch, where that is a matter of seconds.
FEWEST, FEW, MANY, PATIENCE_S = 2, 4, 16, 4.0
TYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "float64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class NetworkMemory:
    """Bytes of a network in training.

    Args:
        weights: Parameters and statistics.
        gradient: Of the parameters that learn.
        fixed: Kept for the way back, whatever the number of pictures.
        per_picture: Kept for the way back, of each picture.
        passing: Of each picture, in flight between two layers on the way back.
    """

    weights: int
    gradient: int
    fixed: int
    per_picture: int
    passing: int


def count_memory(config: TrainConfig) -> NetworkMemory:
    """Count the bytes of a config's backbone; nothing is computed and no memory is taken.

    Raises:
        ValueError: If the network, an option or a frozen stage is unknown.
    """
    backbone = _network(config, "meta")
    freeze(backbone, config.freeze)
    side, kind = config.backbone.input_size, TYPES[config.precision]
    counts = []
    for pictures in COUNTED:
        inputs = torch.empty(pictures, 3, side, side, device="meta", dtype=kind)
        counts.append(_kept_by_autograd(backbone, inputs))
    (few, _), (many, largest) = counts
    per_picture = (many - few) // (COUNTED[1] - COUNTED[0])
    parameters = list(backbone.parameters())
    # Autocast computes in bf16, and keeps weights and gradients in float32 beside it.
    number = max(kind.itemsize, 4)
    tensors = [*parameters, *backbone.buffers()]
    copies = sum(item.numel() for item in parameters) * kind.itemsize * (config.precision == "bf16")
    return NetworkMemory(
        weights=number * sum(item.numel() for item in tensors),
        gradient=number * sum(item.numel() for item in parameters if item.requires_grad),
        fixed=max(0, few - COUNTED[0] * per_picture) + copies,
        per_picture=per_picture,
        # Measured: gradients between layers, and the same in layouts of libraries.
        passing=PASSING * largest // COUNTED[1],
    )


def measure_picture_s(config: TrainConfig, *, most: int | None = None) -> float | None:
    """Take one or two small real steps, forward and backward; return the seconds a picture.

    The weights are drawn anew and thrown away; no random number of a run is used up.

    Args:
        config: The run.
        most: Pictures that fit into memory; below 2 nothing is tried and nothing returned.
    """
    limit = MANY if most is None else min(MANY, most)
    if limit < FEWEST:
        return None
    with torch.random.fork_rng(devices=[]):
        backbone = _network(config, config.device).train()
        freeze(backbone, config.freeze)
        if config.channels_last:
            backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        pictures = min(FEW, limit, max(FEWEST, config.batch_size))
        _pass(backbone, config, FEWEST)
        spent = seconds_of(lambda: _pass(backbone, config, pictures), config.device)
        many = min(limit, config.batch_size)
        if many > pictures and spent * many / pictures < PATIENCE_S:
            pictures = many
            spent = seconds_of(lambda: _pass(backbone, config, pictures), config.device)
        return spent / pictures


def _network(config: TrainConfig, device: str) -> nn.Module:
    part = config.backbone
    with torch.device(device):
        network = make_backbone(part.name, dim=part.dim, input_size=part.input_size, **part.options)
    kind = TYPES[config.precision]
    return network.to(kind if device == "meta" or kind == torch.float64 else torch.float32)


def _pass(backbone: nn.Module, config: TrainConfig, pictures: int) -> None:
    side = config.backbone.input_size
    kind = torch.float64 if config.precision == "float64" else torch.float32
    inputs = torch.zeros(pictures, 3, side, side, device=config.device, dtype=kind)
    if config.channels_last:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    is_bf16 = config.precision == "bf16"
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=is_bf16):
        features: Tensor = backbone(inputs)
    if features.requires_grad:
        features.float().sum().backward()  # type: ignore[no-untyped-call]
    backbone.zero_grad(set_to_none=True)


def _kept_by_autograd(backbone: nn.Module, inputs: Tensor) -> tuple[int, int]:
    """Return the bytes kept for the way back but for the network's own, and the largest of them."""
    own = {id_of(item) for item in [*backbone.parameters(), *backbone.buffers()]}
    kept: dict[int, Tensor] = {}

    def keep(item: Tensor) -> Tensor:
        if id_of(item) not in own:
            kept[id_of(item)] = item  # alive, so that no other tensor takes its place
        return item

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda item: item):
        backbone(inputs)
    sizes = [item.untyped_storage().nbytes() for item in kept.values()]
    return sum(sizes), max(sizes, default=0)


def id_of(item: Tensor) -> int:
    """Return a number of the memory a tensor looks at, the same for all views of it."""
    return int(item.untyped_storage()._cdata)
