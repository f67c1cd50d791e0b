"""A backbone seen from inside: the output of one of its stages, with or without the rest.

Nothing here knows a backbone but through `stages()`, its named groups from input to output.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from marginface.axes import Float, Tensor
from marginface.errors import unknown_name

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def stage_of(backbone: nn.Module, name: str, *, argument: str) -> nn.Module:
    """Return the module whose output is that of the named stage.

    Raises:
        ValueError: If there is no such stage.
    """
    stages: dict[str, nn.Module] = dict(backbone.stages())  # type: ignore[operator]
    if name not in stages:
        raise unknown_name(argument, name, stages)
    stage = stages[name]
    return stage[-1] if isinstance(stage, nn.ModuleList) else stage


@contextmanager
def recorded(stage: nn.Module) -> Iterator[list[Tensor]]:
    """Yield a list that receives the stage's output of every forward pass in the block."""
    seen: list[Tensor] = []
    handle = stage.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        yield seen
    finally:
        handle.remove()


class _StagePassed(Exception):  # noqa: N818 - a signal, not an error
    """The stage that was wanted has been passed."""


def map_at(
    backbone: nn.Module, stage: nn.Module, images: Float[Tensor, "batch c height width"]
) -> Float[Tensor, "batch d h w"]:
    """Return a stage's output alone; what comes after it is not computed."""
    seen: list[Tensor] = []

    def stop(module: nn.Module, inputs: object, output: Tensor) -> None:
        seen.append(output)
        raise _StagePassed

    handle = stage.register_forward_hook(stop)
    try:
        backbone(images)
    except _StagePassed:
        pass
    finally:
        handle.remove()
    return seen[0]


@contextmanager
def at_rest(backbone: nn.Module) -> Iterator[None]:
    """Within the block weights take no gradient and statistics stay, whatever is computed."""
    modes = [(module, module.training) for module in backbone.modules()]
    learning = [weight for weight in backbone.parameters() if weight.requires_grad]
    for module, _ in modes:
        module.training = False
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for weight in learning:
            weight.requires_grad_(True)


@contextmanager
def statistics_kept(backbone: nn.Module) -> Iterator[None]:
    """Within the block batches are normalised by their own statistics, which are then forgotten."""
    norms = [module for module in backbone.modules() if isinstance(module, BATCH_NORMS)]
    momenta = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked = count
