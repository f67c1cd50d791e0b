"""What every backbone shares: its sizes, its stages from input to output, and freezing."""

from abc import ABC, abstractmethod

from torch import nn

from marginface.axes import Float, Tensor


class Backbone(nn.Module, ABC):
    """A network from aligned faces to features.

    Args:
        dim: Length of the feature.
        input_size: Side of the square input, in pixels.
    """

    def __init__(self, *, dim: int, input_size: int) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        self.dim = dim
        self.input_size = input_size
        self._frozen_stages = 0

    @abstractmethod
    def extract(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim"]:
        """Return the features of images whose shape has been checked."""

    @abstractmethod
    def stages(self) -> list[tuple[str, nn.Module]]:
        """Return named groups from input to output; every parameter is in exactly one.

        Layer-wise rates and freezing go by these groups.
        """

    def positions_and_tokens(self) -> list[nn.Parameter]:
        """Return what stands for places and not for features, which some let be without decay."""
        return []

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Return raw features, not yet of unit length.

        Args:
            images: RGB in [-1, 1], (batch, 3, input_size, input_size).

        Raises:
            ValueError: If the images have another shape.
        """
        expected = (3, self.input_size, self.input_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(
                f"images must have shape (batch, {', '.join(map(str, expected))}), "
                f"got {tuple(images.shape)}"
            )
        return self.extract(images)

    def train(self, mode: bool = True) -> "Backbone":
        """Switch between training and evaluation; frozen stages stay in evaluation."""
        super().train(mode)
        for _, stage in self.stages()[: self._frozen_stages]:
            stage.eval()
        return self


def freeze_stages(backbone: Backbone, count: int) -> None:
    """Freeze the first `count` stages: no gradient, and running statistics that stay as they are.

    The batch-norms of a frozen stage stay in evaluation mode through every later `.train()`;
    otherwise their statistics would drift although no weight moves. It never unfreezes.

    Args:
        backbone: Changed in place.
        count: How many stages from the input, 0 to all but none left out.

    Raises:
        ValueError: If there are not so many stages.
    """
    stages = backbone.stages()
    if not 0 <= count <= len(stages):
        names = ", ".join(name for name, _ in stages)
        raise ValueError(f"count must lie in [0, {len(stages)}] ({names}), got {count}")
    backbone._frozen_stages = max(backbone._frozen_stages, count)
    for _, stage in stages[:count]:
        stage.requires_grad_(False)
        stage.eval()
