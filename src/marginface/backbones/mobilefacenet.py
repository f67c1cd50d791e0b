"""MobileFaceNet: a network of a million weights for phones and laptops.

    block(x) = linear 1×1(depthwise 3×3 stride(1×1 expand(x))) [+ x]

Inverted residuals with PReLU, then a global depthwise convolution in place of mean pooling, so that
the corners of the face can weigh less than its centre, then a linear layer and a BN.

Source: Chen et al., "MobileFaceNets", CCBR 2018, arXiv:1804.07573, table 1.
Differs: any input size; the global kernel is as large as what the last stage leaves (7 at 112).
"""

import math

import torch
from torch import nn

from marginface.axes import Float, Tensor
from marginface.backbones.base import Backbone
from marginface.backbones.units import ConvUnit, draw_convolutions

# (expansion, channels, blocks, stride of the first) as in the paper's table 1.
_LAYERS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class InvertedResidual(nn.Module):
    """Expand, convolve depthwise, project without activation; a shortcut where sizes agree."""

    def __init__(self, channels_in: int, channels: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        wide = expansion * channels_in
        self.expand = ConvUnit(channels_in, wide, 1)
        self.depthwise = ConvUnit(wide, wide, 3, stride=stride, groups=wide)
        self.project = ConvUnit(wide, channels, 1, is_linear=True)
        self.has_shortcut = stride == 1 and channels_in == channels

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d p q"]:
        """Return the block's activation."""
        y = self.project(self.depthwise(self.expand(x)))
        return y + x if self.has_shortcut else y


class MobileFaceNet(Backbone):
    """MobileFaceNet with a feature of any length; the paper's has 128 values.

    Convolutions start normal with deviation sqrt(2 / fan in).

    Args:
        dim: Length of the feature.
        input_size: Side of the square input in pixels, at least 32.
    """

    def __init__(self, *, dim: int = 512, input_size: int = 112) -> None:
        super().__init__(dim=dim, input_size=input_size)
        if input_size < 32:
            raise ValueError(f"input_size must be at least 32, got {input_size}")
        self.stem = nn.Sequential(ConvUnit(3, 64, 3, stride=2), ConvUnit(64, 64, 3, groups=64))
        self.layer1, self.layer2, self.layer3, self.layer4, self.layer5 = _layers(64)
        self.last = ConvUnit(128, 512, 1)
        side = math.ceil(input_size / 16)
        self.pool = ConvUnit(512, 512, side, groups=512, padding=0, is_linear=True)
        self.fc = nn.Linear(512, dim, bias=False)
        self.features = nn.BatchNorm1d(dim)
        draw_convolutions(self)

    def extract(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim"]:
        """Return the features of images whose shape has been checked."""
        x = self.layer2(self.layer1(self.stem(images)))
        x = self.layer5(self.layer4(self.layer3(x)))
        x = torch.flatten(self.pool(self.last(x)), 1)
        return self.features(self.fc(x))

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Return stem, layer1 to layer5 and output."""
        return [
            ("stem", self.stem),
            ("layer1", self.layer1),
            ("layer2", self.layer2),
            ("layer3", self.layer3),
            ("layer4", self.layer4),
            ("layer5", self.layer5),
            ("output", nn.ModuleList([self.last, self.pool, self.fc, self.features])),
        ]


def _layers(channels_in: int) -> list[nn.Sequential]:
    layers = []
    for expansion, channels, blocks, first_stride in _LAYERS:
        layer = nn.Sequential()
        for stride in (first_stride, *[1] * (blocks - 1)):
            layer.append(
                InvertedResidual(channels_in, channels, expansion=expansion, stride=stride)
            )
            channels_in = channels
        layers.append(layer)
    return layers
