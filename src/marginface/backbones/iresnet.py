"""IResNet: the residual network of ArcFace and of nearly every published face table since.

    block(x) = BN(conv3×3 stride(PReLU(BN(conv3×3(BN(x)))))) + shortcut(x)

A 3×3 stem with stride 1, four stages that halve the size, then BN, flatten, dropout, a linear
layer and a BN whose scale is fixed at 1. The names of weights are those of insightface's
arcface_torch, so public weights load with `load_state_dict`.

Source: Deng et al., "ArcFace", CVPR 2019, arXiv:1801.07698, section 3.1; Duta et al., "Improved
    Residual Networks", ICPR 2020, arXiv:2004.04989.
Differs: any input size; the linear layer has as many inputs as the last stage leaves values
    (512 × 49 at 112). The tiny network is this project's own.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn

from marginface.axes import Float, Tensor
from marginface.backbones.base import Backbone


class IResNetBlock(nn.Module):
    """Two 3×3 convolutions with a batch-norm before, between and after; the second may stride."""

    def __init__(self, channels_in: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d p q"]:
        """Return the block's sum of both branches."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(x)) + shortcut


class IResNet(Backbone):
    """IResNet of any depth and width.

    Weights start as in arcface_torch: convolutions normal with deviation 0.1, norms at identity,
    the linear layer uniform as torch does.

    Args:
        blocks: Blocks of the four stages.
        widths: Channels of the four stages; the stem has as many as the first.
        dim: Length of the feature.
        input_size: Side of the square input in pixels, at least 32.
        dropout: Share of values set to zero before the linear layer, in [0, 1).
        stem_stride: 1 as published; 2 makes every stage four times cheaper.
        strides: Of the four stages, 2 each as published.
        freeze_bn_scale: Whether the scale of the last batch norm stays 1, as published; it pins
            features to a length near √dim, so that only relative lengths can mean anything. Losses
            that read the length as a concentration may want it to learn.
    """

    def __init__(
        self,
        *,
        blocks: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        dim: int = 512,
        input_size: int = 112,
        dropout: float = 0.0,
        stem_stride: int = 1,
        strides: Sequence[int] = (2, 2, 2, 2),
        freeze_bn_scale: bool = True,
    ) -> None:
        super().__init__(dim=dim, input_size=input_size)
        _check_four(blocks=blocks, widths=widths, strides=strides)
        if input_size < 32:
            raise ValueError(f"input_size must be at least 32, got {input_size}")
        if stem_stride < 1:
            raise ValueError(f"stem_stride must be at least 1, got {stem_stride}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be a fraction in [0, 1), got {dropout}")
        stem = widths[0]
        self.conv1 = nn.Conv2d(3, stem, 3, stride=stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.prelu = nn.PReLU(stem)
        self.layer1 = _stage(stem, widths[0], blocks[0], strides[0])
        self.layer2 = _stage(widths[0], widths[1], blocks[1], strides[1])
        self.layer3 = _stage(widths[1], widths[2], blocks[2], strides[2])
        self.layer4 = _stage(widths[2], widths[3], blocks[3], strides[3])
        self.bn2 = nn.BatchNorm2d(widths[3])
        self.dropout = nn.Dropout(dropout)
        # Each stride of 2 rounds the size up: 112 leaves 7, 56 leaves 4.
        side = math.ceil(input_size / (stem_stride * math.prod(strides)))
        self.fc = nn.Linear(widths[3] * side * side, dim)
        self.features = nn.BatchNorm1d(dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.1)
        # A learnt scale per value would fight with the unit length the loss asks for.
        self.features.weight.requires_grad_(not freeze_bn_scale)

    def extract(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim"]:
        """Return the features of images whose shape has been checked."""
        x = self.prelu(self.bn1(self.conv1(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.dropout(torch.flatten(self.bn2(x), 1))
        return self.features(self.fc(x))

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Return stem, layer1 to layer4 and output."""
        return [
            ("stem", nn.ModuleList([self.conv1, self.bn1, self.prelu])),
            ("layer1", self.layer1),
            ("layer2", self.layer2),
            ("layer3", self.layer3),
            ("layer4", self.layer4),
            ("output", nn.ModuleList([self.bn2, self.dropout, self.fc, self.features])),
        ]


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = IResNetBlock(channels_in, channels, stride=stride)
    rest = (IResNetBlock(channels, channels, stride=1) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def _check_four(**counts: Sequence[int]) -> None:
    for name, values in counts.items():
        if len(values) != 4 or min(values) < 1:
            raise ValueError(f"{name} must hold four counts of at least 1, got {tuple(values)}")
