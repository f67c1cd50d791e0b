"""A running average of the backbone, which often judges faces better than the last weights.

    a ← d·a + (1 - d)·w        d = min(decay, (1 + n) / (10 + n)), n updates before this one

Differs: the decay warms up, so that a short run's average forgets the random start.
"""

from torch import nn
from torch.optim.swa_utils import AveragedModel

from marginface.axes import Tensor


def make_ema(backbone: nn.Module, *, decay: float) -> AveragedModel:
    """Return a copy of the backbone that follows it with each `update_parameters(backbone)`.

    The statistics of batch normalisation are averaged like the weights. The network to judge with
    is `.module`.

    Args:
        backbone: The network that is trained.
        decay: Share of the old average kept in the long run, in (0, 1).
    """

    def update(averages: list[Tensor], values: list[Tensor], updates: Tensor) -> None:
        keep = min(decay, (1 + int(updates)) / (10 + int(updates)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - keep)
            else:
                average.copy_(value)

    averaged = AveragedModel(backbone, multi_avg_fn=update, use_buffers=True)  # type: ignore[arg-type]
    averaged.requires_grad_(False)
    return averaged.eval()
