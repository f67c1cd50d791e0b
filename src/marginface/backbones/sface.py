"""The public SFace network as a trainable module, with its pretrained weights.

A MobileNet with PReLU: a 3×3 stem, thirteen depthwise-separable blocks, then BN, dropout, a linear
layer and a BN. Batch-norms are kept as layers, so fine-tuning moves their statistics as usual. The
public graph takes RGB from 0 to 255 and scales it by (v - 127.5) / 128; this module takes RGB in
[-1, 1] like every backbone here and does the rest inside.

Source: Zhong et al., "SFace", IEEE TIP 2021, arXiv:2205.12010, for the loss it was trained with;
    the weights and the graph are opencv/opencv_zoo's face_recognition_sface_2021dec (Apache-2.0).
Differs: nothing; the output equals the graph's to float32 rounding.
"""

import math
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import nn

from marginface.axes import Float, Tensor
from marginface.backbones.base import Backbone
from marginface.backbones.onnx_folding import (
    attributes_of,
    constants_of,
    folded,
    read_onnx,
)
from marginface.backbones.units import ConvUnit, draw_convolutions
from marginface.errors import WeightsError
from marginface.files import sha256_of, write_atomically
from marginface.weights import cache_folder, resolve_weights

# (channels, stride) of the blocks of each layer, after a stem of 32 channels.
_LAYERS = (
    ((64, 1),),
    ((128, 2), (128, 1)),
    ((256, 2), (256, 1)),
    ((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    ((1024, 2), (1024, 1)),
)
_EPSILON = 1e-3
_OFFSET, _FACTOR = 127.5, 1 / 128
# They change nothing at inference, and releases of the graph differ in them.
_SILENT = frozenset({"Constant", "Dropout", "Identity"})
_UNIT = ("Conv", "BatchNormalization", "PRelu")
_END = ("BatchNormalization", "Flatten", "Gemm", "BatchNormalization")
# Part of the name of folded files: a change of the folding makes new ones.
_FOLDING = 1


class SeparableBlock(nn.Module):
    """A depthwise 3×3 unit, which may stride, and a pointwise unit."""

    def __init__(self, channels_in: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.depthwise = ConvUnit(
            channels_in, channels_in, 3, stride=stride, groups=channels_in, eps=_EPSILON
        )
        self.pointwise = ConvUnit(channels_in, channels, 1, eps=_EPSILON)

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d p q"]:
        """Return the block's activation."""
        return self.pointwise(self.depthwise(x))


class SFaceNet(Backbone):
    """The network of the public SFace weights; fresh until `load_public_sface`.

    Args:
        dim: Length of the feature, 128.
        input_size: Side of the square input in pixels, 112.
        dropout: Share of values set to zero before the linear layer in training; the graph's 0.4.

    Raises:
        ValueError: If a size is not that of the public weights.
    """

    def __init__(self, *, dim: int = 128, input_size: int = 112, dropout: float = 0.4) -> None:
        super().__init__(dim=dim, input_size=input_size)
        for name, value, public in (("dim", dim, 128), ("input_size", input_size, 112)):
            if value != public:
                raise ValueError(
                    f"{name} must be {public} for the public SFace network, got {value}"
                )
        self.stem = ConvUnit(3, 32, 3, eps=_EPSILON)
        channels = 32
        for number, blocks in enumerate(_LAYERS, start=1):
            layer = nn.Sequential()
            for width, stride in blocks:
                layer.append(SeparableBlock(channels, width, stride=stride))
                channels = width
            self.add_module(f"layer{number}", layer)
        self.bn = nn.BatchNorm2d(channels, eps=2e-5)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels * 7 * 7, dim)
        self.features = nn.BatchNorm1d(dim, eps=2e-5)
        draw_convolutions(self)
        # The public weights hold 1 there; as in IResNet it is not trained.
        self.features.weight.requires_grad_(False)

    def extract(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim"]:
        """Return the features of images whose shape has been checked."""
        # (v - 127.5) / 128 with v = 127.5 x + 127.5.
        x = self.stem(images * (_OFFSET * _FACTOR))
        for number in range(1, len(_LAYERS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        x = torch.flatten(self.dropout(self.bn(x)), 1)
        return self.features(self.fc(x))

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Return stem, layer1 to layer5 and output."""
        names = [f"layer{number}" for number in range(1, len(_LAYERS) + 1)]
        return [
            ("stem", self.stem),
            *((name, self.get_submodule(name)) for name in names),
            ("output", nn.ModuleList([self.bn, self.dropout, self.fc, self.features])),
        ]


def load_public_sface(
    module: SFaceNet, path: Path | None = None, *, cache: Path | None = None
) -> None:
    """Load the public SFace weights into the module, in place.

    Args:
        module: The network to fill.
        path: A file the user names: the public one, or another release of the same network, such as
            the full-precision file; its graph must be exactly this network, and a warning is
            logged. Unset, the file is looked for as `resolve_weights` does.
        cache: See `marginface.weights.cache_folder`.

    Raises:
        WeightsError: If the file is nowhere, altered, or of another network; the module is then
            what it was before.
        MissingExtraError: If the package onnx is not installed.
    """
    source = resolve_weights("sface", path=path, cache=cache, allow_other=True)
    state = _state_of(folded(read_onnx(source)), module, source)
    module.load_state_dict(state)


def folded_sface_onnx(path: Path | None = None, *, cache: Path | None = None) -> Path:
    """Return the public SFace network as a float ONNX file, folded once and kept in the cache.

    The file takes "data", (batch, 3, 112, 112) RGB float 0 to 255, and runs in onnxruntime and in
    OpenCV 4 and 5. Beside it stands its SHA-256; a file that differs from it is folded anew.

    Args:
        path: As for `load_public_sface`.
        cache: See `marginface.weights.cache_folder`.

    Raises:
        WeightsError: If the file is nowhere, altered, or of another network.
        CheckpointWriteError: If the cache cannot be written.
        MissingExtraError: If the package onnx is not installed.
    """
    source = resolve_weights("sface", path=path, cache=cache, allow_other=True)
    target = cache_folder(cache) / f"sface-float-{_FOLDING}-{sha256_of(source)[:16]}.onnx"
    seal = target.with_suffix(".sha256")
    if target.is_file() and seal.is_file() and seal.read_text() == sha256_of(target):
        return target
    model = folded(read_onnx(source))
    _state_of(model, SFaceNet(), source)
    write_atomically(target, model.SerializeToString())
    write_atomically(seal, sha256_of(target))
    return target


def _state_of(model: Any, module: SFaceNet, source: Path) -> dict[str, Tensor]:
    """Read the weights of a folded graph under the module's names, or say where it differs."""
    nodes = _chain(model, source)
    constants = constants_of(model)
    state = dict(module.state_dict())
    for name, node in zip(_weighted_parts(module), nodes, strict=True):
        part = module.get_submodule(name)
        _check_attributes(name, part, node, source)
        for key, position in _places(part):
            shape = tuple(state[f"{name}.{key}"].shape)
            value = constants.get(node.input[position]) if position < len(node.input) else None
            if isinstance(part, nn.PReLU) and value is not None:
                value = value.ravel()  # (channels, 1, 1) in the graph
            if value is None or value.shape != shape:
                got = "none" if value is None else str(value.shape)
                raise _misfit(source, f"{name}.{key} must have shape {shape}, got {got}")
            state[f"{name}.{key}"] = torch.from_numpy(value.astype("float32"))
    return state


def _weighted_parts(module: SFaceNet) -> list[str]:
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm1d, nn.PReLU, nn.Linear)
    return [name for name, part in module.named_modules() if isinstance(part, kinds)]


def _chain(model: Any, source: Path) -> list[Any]:
    """Return the nodes with weights in order, after checking that the graph is this chain."""
    every = [node for node in model.graph.node if node.op_type != "Constant"]
    nodes = [node for node in every if node.op_type not in _SILENT]
    units = 1 + 2 * sum(len(blocks) for blocks in _LAYERS)
    expected = ["Sub", "Mul", *_UNIT * units, *_END]
    for step, (node, wanted) in enumerate(zip_longest(nodes, expected), start=1):
        got = node.op_type if node is not None else "the end"
        if got != (wanted or "the end"):
            raise _misfit(source, f"step {step} must be {wanted or 'the end'}, got {got}")
    if len(model.graph.input) != 1:
        raise _misfit(source, f"it must have one input, got {len(model.graph.input)}")
    before = model.graph.input[0].name
    for node in every:
        if node.input[0] != before:
            raise _misfit(source, f"{node.op_type} must follow {before!r}, got {node.input[0]!r}")
        before = node.output[0]
    constants = constants_of(model)
    for node, number in zip(nodes, (_OFFSET, _FACTOR), strict=False):
        value = constants.get(node.input[1])
        if value is None or value.size != 1 or not math.isclose(value.item(), number):
            raise _misfit(source, f"{node.op_type} must be by {number}, got {value}")
    return [node for node in nodes[2:] if node.op_type != "Flatten"]


def _places(part: nn.Module) -> tuple[tuple[str, int], ...]:
    """Return the weights of a layer and the position of each among its node's inputs."""
    if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
        return (("weight", 1), ("bias", 2), ("running_mean", 3), ("running_var", 4))
    return (("weight", 1), ("bias", 2)) if isinstance(part, nn.Linear) else (("weight", 1),)


def _check_attributes(name: str, part: nn.Module, node: Any, source: Path) -> None:
    got = attributes_of(node)
    wanted: dict[str, Any] = {}
    if isinstance(part, nn.Conv2d):
        wanted = {
            "group": part.groups,
            "strides": list(part.stride),
            "pads": [int(part.padding[0])] * 4,
        }
    elif isinstance(part, nn.Linear):
        wanted = {"transB": 1, "alpha": 1.0, "beta": 1.0}
    elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
        epsilon = got.get("epsilon", 1e-5)
        if not math.isclose(epsilon, part.eps, rel_tol=1e-6):
            raise _misfit(source, f"{name} must have epsilon {part.eps}, got {epsilon}")
    for key, value in wanted.items():
        if got.get(key, value) != value:
            raise _misfit(source, f"{name} must have {key} {value}, got {got[key]}")


def _misfit(source: Path, reason: str) -> WeightsError:
    return WeightsError(f"{source} does not fit the public SFace network: {reason}")
