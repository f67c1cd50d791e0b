"""Any network of the package timm as a backbone; timm itself is not required."""

import importlib
from collections.abc import Collection
from typing import Any

from torch import nn

from marginface.axes import Float, Tensor
from marginface.backbones.base import Backbone
from marginface.errors import MissingExtraError


class TimmBackbone(Backbone):
    """A timm network whose classifier is a linear layer to the feature."""

    def __init__(self, network: nn.Module, *, dim: int, input_size: int) -> None:
        super().__init__(dim=dim, input_size=input_size)
        self.network = network

    def extract(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim"]:
        """Return the features of images whose shape has been checked."""
        return self.network(images)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Return the network's own children, in the order it declares them."""
        return list(self.network.named_children())

    def positions_and_tokens(self) -> list[nn.Parameter]:
        """Return what the network itself says should not decay."""
        told: Collection[str] = getattr(self.network, "no_weight_decay", set)()
        return [item for name, item in self.network.named_parameters() if name in told]


def make_timm(name: str, *, dim: int = 512, input_size: int = 112, **options: Any) -> TimmBackbone:
    """Build the timm network `name` with fresh weights and `dim` outputs.

    Args:
        name: A name of `timm.list_models()`.
        dim: Length of the feature.
        input_size: Side of the square input, in pixels; the network must take it.
        options: Further keywords of `timm.create_model`.

    Raises:
        MissingExtraError: If timm is not installed.
        ValueError: If timm has no such network.
    """
    try:
        timm = importlib.import_module("timm")
    except ModuleNotFoundError as cause:
        raise MissingExtraError(
            f"backbone 'timm:{name}' needs the package timm, which is not installed; "
            "get it with pip install timm, or choose a backbone of marginface"
        ) from cause
    if not timm.is_model(name):
        raise ValueError(f"backbone 'timm:{name}' must be one of timm.list_models(), got {name!r}")
    network = timm.create_model(name, pretrained=False, num_classes=dim, **options)
    return TimmBackbone(network, dim=dim, input_size=input_size)
