"""Partial classes: at each step the own classes of the batch and a random share of the others.

Source: An et al., "Partial FC", ICCV Workshops 2021, arXiv:2010.05222. The pool then runs over the
    chosen classes alone and is not corrected for those left out, as there.
"""

import math

import torch

from marginface.axes import Int, Tensor


def choose_classes(
    count: int,
    rate: float,
    present: Int[Tensor, " present"],
    generator: torch.Generator | None = None,
    *,
    least: int = 2,
) -> Int[Tensor, " chosen"]:
    """Return ⌈rate · count⌉ classes or as many as are present, rising, all present ones among them.

    Args:
        count: Number of classes.
        rate: Share of them to choose, in (0, 1].
        present: Classes of the batch, each once.
        generator: Draws the others; None for the default generator.
        least: How many at the least, where there are so many: against its own class alone no row
            learns anything. 1 will do where other processes choose from other classes.

    Example:
        >>> len(choose_classes(100, 0.1, torch.tensor([3, 7])))
        10
    """
    order = torch.rand(count, device=present.device, generator=generator)
    order[present] = -1
    chosen = max(math.ceil(rate * count), len(present), min(least, count))
    return order.topk(chosen, largest=False, sorted=False).indices.sort().values
