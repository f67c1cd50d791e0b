"""A recogniser that looks at what was reconstructed: the canonical face, its depth, or all three.

    pass 1:  feature map of (image, 0 …)  →  D, A, L, V  →  J, d
    pass 2:  feature = f(the chosen of image, J, d side by side)

The first convolution is widened to as many channels; the new ones begin at zero. Pass 1 is left out
where depth and albedo are decoded from the picture itself.

Source: named in a public summary of LH2Face, arXiv:2506.23555, where canonical face and depth
    together helped most; how they are joined is inferred.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from marginface.axes import Float, Tensor
from marginface.reconstruction.config import IMAGE, ReconstructionConfig
from marginface.reconstruction.reconstructor import (
    Reconstructor,
    normalised_depth,
    resize_pictures,
)
from marginface.reconstruction.stages import map_at, recorded, stage_of

CHANNELS = {"canon": 3, "canon+depth": 4, "image+canon+depth": 7}


class FusedRecogniser(nn.Module):
    """A backbone and the reconstruction it looks through; called like a backbone.

    Args:
        inner: The backbone; its first convolution is widened in place.
        networks: The reconstruction.
        decoder_input: `image`, or the stage of the backbone that is decoded from.
        fr_input: `canon`, `canon+depth` or `image+canon+depth`.
    """

    def __init__(
        self, inner: nn.Module, networks: Reconstructor, *, decoder_input: str, fr_input: str
    ) -> None:
        super().__init__()
        self.inner = inner
        self.networks = networks
        self.decoder_input = decoder_input
        self.fr_input = fr_input
        self.channels = CHANNELS[fr_input]
        widen_first_convolution(inner, self.channels)

    @property
    def dim(self) -> int:
        """Length of the feature."""
        return int(self.inner.dim)  # type: ignore[arg-type]

    @property
    def input_size(self) -> int:
        """Side of the square input, in pixels."""
        return int(self.inner.input_size)  # type: ignore[arg-type]

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Return the stages of the backbone."""
        stages: list[tuple[str, nn.Module]] = self.inner.stages()  # type: ignore[operator]
        return stages

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Return the features of what was seen and reconstructed."""
        feature_map = None
        if self.decoder_input != IMAGE:
            stage = stage_of(self.inner, self.decoder_input, argument="decoder_input")
            feature_map = map_at(ImageAlone(self), stage, images).float()
        with torch.autocast(images.device.type, enabled=False):
            scene = self.networks(images.float(), feature_map)
            face = resize_pictures(self.networks.canonical(scene), self.input_size).clamp(-1, 1)
            depth = normalised_depth(scene.depth)[:, None]
            depth = resize_pictures(depth.expand(-1, 3, -1, -1), self.input_size)[:, :1]
        chosen = {"image": images, "canon": face.to(images), "depth": depth.to(images)}
        seen = torch.cat([chosen[part] for part in self.fr_input.split("+")], dim=1)
        features: Tensor = self.inner.extract(seen)  # type: ignore[operator]
        return features


class ImageAlone(nn.Module):
    """The backbone of a fused recogniser as it sees a picture before anything is reconstructed."""

    def __init__(self, fused: FusedRecogniser) -> None:
        super().__init__()
        self.fused = fused

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Return the features of the picture, the other channels at zero."""
        empty = (0, 0, 0, 0, 0, self.fused.channels - 3)
        features: Tensor = self.fused.inner.extract(F.pad(images, empty))  # type: ignore[operator]
        return features

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Return the stages of the backbone."""
        return self.fused.stages()


def widen_first_convolution(backbone: nn.Module, channels: int) -> None:
    """Give the first convolution more input channels, of zero weight; 3 leaves it as it is."""
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            extra = channels - module.in_channels
            weight = F.pad(module.weight.detach(), (0, 0, 0, 0, 0, extra))
            module.weight = nn.Parameter(weight, requires_grad=module.weight.requires_grad)
            module.in_channels = channels
            return
    raise ValueError("a backbone without a convolution cannot be widened")


def make_networks(
    config: ReconstructionConfig, backbone: nn.Module, *, input_size: int
) -> Reconstructor:
    """Build the reconstruction networks that fit a backbone.

    Raises:
        ValueError: If the config names a stage that is not there, or whose output is no map.
    """
    return Reconstructor(
        size=config.size,
        width=config.width,
        feature_shape=_feature_shape(config, backbone, input_size),
        has_confidence=config.has_confidence,
        depth_range=config.depth_range,
        planes=config.planes,
    )


def fuse(backbone: nn.Module, options: dict[str, Any], *, input_size: int) -> FusedRecogniser:
    """Build a fused recogniser from a plain backbone and a config as JSON holds it.

    Raises:
        ValueError: If the config does not fit.
    """
    config = ReconstructionConfig(**(options | {"view_terms": tuple(options["view_terms"])}))
    networks = make_networks(config, backbone, input_size=input_size)
    return FusedRecogniser(
        backbone, networks, decoder_input=config.decoder_input, fr_input=config.fr_input
    )


def _feature_shape(
    config: ReconstructionConfig, backbone: nn.Module, input_size: int
) -> tuple[int, int, int] | None:
    if config.decoder_input == IMAGE:
        return None
    stage = stage_of(backbone, config.decoder_input, argument="reconstruction.decoder_input")
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    device = next(backbone.parameters()).device
    with torch.no_grad(), recorded(stage) as seen:
        backbone(torch.zeros(1, 3, input_size, input_size, device=device))
    for module, mode in modes:
        module.training = mode
    shape = seen[0].shape[1:]
    if len(shape) != 3:
        raise ValueError(
            "reconstruction.decoder_input must name a stage whose output is a map, "
            f"got {config.decoder_input!r} with shape {tuple(shape)}"
        )
    return (int(shape[0]), int(shape[1]), int(shape[2]))
