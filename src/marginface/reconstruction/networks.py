"""The networks of the reconstruction: one picture in, depth, albedo, light and view out.

    raw depth = D(x),  albedo = tanh A(x),  light = tanh L(I),  view = tanh V(I),  σ = softplus Σ(I)

x is the picture itself or a feature map of the recogniser; I is the picture at the working size S,
a multiple of 16. Decoders go from a code vector to S/16, double three times, and double once more
by repetition.

Source: Wu et al., CVPR 2020, arXiv:1911.11130, appendix (shapes of the networks); He et al., CVPR
    2022 (decoding from a feature map of the recogniser).
Differs: any S that is a multiple of 16; `width` scales all channels, 64 as in the source.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from marginface.axes import Float, Tensor

GROUPS = 8
STEP = 16
FLAT_STD = 1e-3


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(GROUPS, channels), channels)


def _check_size(size: int, width: int) -> None:
    if size < 2 * STEP or size % STEP:
        raise ValueError(f"size must be a multiple of {STEP} from {2 * STEP} on, got {size}")
    if width < 8 or width % 8:
        raise ValueError(f"width must be a multiple of 8, got {width}")


class Encoder(nn.Sequential):
    """A picture to a vector: four convolutions that halve it, one over all that is left.

    Args:
        size: Side of the picture, a multiple of 16.
        outputs: Length of the vector.
        width: Channels after the second halving.
        normalised: Whether the second and later convolutions are followed by group norm.
    """

    def __init__(self, size: int, outputs: int, *, width: int, normalised: bool) -> None:
        _check_size(size, width)
        channels = [3, width // 2, width, width * 2, width * 4]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1))
            if normalised and before != 3:
                layers.append(_norm(after))
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Conv2d(channels[-1], width * 4, size // STEP))
        layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Conv2d(width * 4, outputs, 1))
        layers.append(nn.Flatten())
        super().__init__(*layers)


class MapEncoder(nn.Sequential):
    """A feature map of the recogniser to a vector, halved until 4 pixels or fewer are left.

    Args:
        shape: Channels, height and width of the map.
        outputs: Length of the vector.
        width: A quarter of the channels within.
    """

    def __init__(self, shape: tuple[int, int, int], outputs: int, *, width: int) -> None:
        channels, height, wide = shape
        inner = width * 4
        layers: list[nn.Module] = [nn.Conv2d(channels, inner, 3, padding=1), _norm(inner)]
        layers.append(nn.ReLU(inplace=True))
        while max(height, wide) > 4:
            layers += [nn.Conv2d(inner, inner, 3, stride=2, padding=1), _norm(inner)]
            layers.append(nn.ReLU(inplace=True))
            height, wide = (height + 1) // 2, (wide + 1) // 2
        layers += [nn.Conv2d(inner, inner, (height, wide)), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(inner, outputs, 1), nn.Flatten()]
        super().__init__(*layers)


class Decoder(nn.Module):
    """A vector to maps of S × S; the last layer has no activation.

    Args:
        size: S, a multiple of 16.
        code: Length of the vector.
        channels: Maps wanted.
        width: Channels of the last layers.
    """

    def __init__(self, size: int, code: int, channels: int, *, width: int) -> None:
        super().__init__()
        _check_size(size, width)
        wide = [width * 4, width * 4, width * 2, width]
        layers: list[nn.Module] = [nn.ConvTranspose2d(code, wide[0], size // STEP)]
        layers.append(nn.ReLU(inplace=True))
        for before, after in pairwise(wide):
            layers.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1))
            layers += [_norm(after), nn.ReLU(inplace=True)]
            layers.append(nn.Conv2d(after, after, 3, padding=1))
            layers += [_norm(after), nn.ReLU(inplace=True)]
        layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
        layers += [nn.Conv2d(width, width, 3, padding=1), _norm(width), nn.ReLU(inplace=True)]
        last = nn.Conv2d(width, channels, 5, padding=2)
        # Flat maps to begin with: a random relief starts out as hollow as it is round, and a hollow
        # face under the opposite light and turn looks the same.
        nn.init.normal_(last.weight, 0.0, FLAT_STD)
        layers.append(last)
        self.layers = nn.Sequential(*layers)

    def forward(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch maps size size"]:
        """Return the maps of each code."""
        return self.layers(code[:, :, None, None])


class Confidence(nn.Module):
    """How far each pixel may be off: σ for the picture and for features a quarter its size.

    Args:
        size: S, a multiple of 16.
        width: Channels, see `Decoder`.
        code: Length of the vector between.
    """

    def __init__(self, size: int, *, width: int, code: int) -> None:
        super().__init__()
        self.encoder = Encoder(size, code, width=width, normalised=True)
        self.decoder = Decoder(size, code, 4, width=width)

    def forward(
        self, images: Float[Tensor, "batch 3 size size"]
    ) -> tuple[Float[Tensor, "batch 2 size size"], Float[Tensor, "batch 2 part part"]]:
        """Return σ of the picture and of its features, each for (plain, mirrored) maps."""
        raw = self.decoder(self.encoder(images))
        fine = F.softplus(raw[:, :2])
        coarse = F.softplus(F.avg_pool2d(raw[:, 2:], 4))
        return fine, coarse


def unit_outputs(
    network: nn.Module, images: Float[Tensor, "batch 3 size size"]
) -> Float[Tensor, "batch outputs"]:
    """Return a network's outputs squeezed to [-1, 1]."""
    return torch.tanh(network(images))
