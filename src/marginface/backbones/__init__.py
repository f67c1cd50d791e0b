"""Networks from aligned faces to features, by name.

A backbone takes RGB images, float in [-1, 1], of shape (batch, 3, input_size, input_size), and
returns raw features of shape (batch, dim).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from marginface.backbones.base import Backbone, freeze_stages
from marginface.backbones.iresnet import IResNet
from marginface.backbones.mobilefacenet import MobileFaceNet
from marginface.backbones.sface import SFaceNet, folded_sface_onnx, load_public_sface
from marginface.backbones.timm_adapter import make_timm
from marginface.backbones.vit import VisionTransformer
from marginface.errors import unknown_name

__all__ = [
    "BACKBONES",
    "Backbone",
    "IResNet",
    "MobileFaceNet",
    "SFaceNet",
    "VisionTransformer",
    "folded_sface_onnx",
    "freeze_stages",
    "load_public_sface",
    "make_backbone",
]

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "iresnet18": partial(IResNet, blocks=(2, 2, 2, 2)),
    "iresnet34": partial(IResNet, blocks=(3, 4, 6, 3)),
    "iresnet50": partial(IResNet, blocks=(3, 4, 14, 3)),
    "iresnet100": partial(IResNet, blocks=(3, 13, 30, 3)),
    "iresnet200": partial(IResNet, blocks=(6, 26, 60, 6)),
    # Small enough that one CPU core trains on over 200 pictures of 56 pixels a second. The stem
    # takes the stride of the last stage, so the linear layer still sees 7 × 7 at 112, 4 × 4 at 56.
    "iresnet_tiny": partial(
        IResNet,
        blocks=(1, 1, 1, 1),
        widths=(32, 64, 128, 256),
        stem_stride=2,
        strides=(2, 2, 2, 1),
    ),
    "mobilefacenet": MobileFaceNet,
    "sface": SFaceNet,
    "vit_t": partial(VisionTransformer, width=256, blocks=12),
    "vit_s": partial(VisionTransformer, width=512, blocks=12),
    "vit_b": partial(VisionTransformer, width=512, blocks=24),
}

_TIMM = "timm:"


def make_backbone(
    name: str, *, dim: int | None = None, input_size: int = 112, **options: Any
) -> Backbone:
    """Build a backbone with fresh weights.

    The weights come from torch's current random state; seed it, or fork it, around the call.

    Args:
        name: A row of `BACKBONES`, or "timm:NAME" for a network of the package timm.
        dim: Length of the feature; unset, the family's own: 128 for sface, else 512.
        input_size: Side of the square input, in pixels.
        options: Keywords of the row's class, such as `dropout` or `widths`.

    Raises:
        ValueError: If the name is unknown, or a value does not fit the family.
        TypeError: If the family has no such option.
        MissingExtraError: If timm is asked for and not installed.

    Example:
        >>> backbone = make_backbone("iresnet_tiny", dim=64, input_size=56)
        >>> backbone.dim, backbone.input_size
        (64, 56)
    """
    sizes = {"input_size": input_size} if dim is None else {"input_size": input_size, "dim": dim}
    if name.startswith(_TIMM):
        return make_timm(name.removeprefix(_TIMM), **sizes, **options)
    if name not in BACKBONES:
        raise unknown_name("backbone", name, [*BACKBONES, f"{_TIMM}NAME"])
    return BACKBONES[name](**sizes, **options)
