"""Public weights that run by name: how each is built, and the contract it stands under.

A row here is hand-written from what the publishers state. What they do not state is said to be not
stated, the false match rate of their threshold for one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from marginface.backbones import SFaceNet, load_public_sface
from marginface.errors import unknown_name
from marginface.files import sha256_of
from marginface.recognition.contract import MatchThreshold, ModelContract, TrainingData
from marginface.weights import PUBLIC_WEIGHTS


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicModel:
    """One network with public weights.

    Args:
        contract: Of the PyTorch module, which takes RGB in [-1, 1].
        onnx_contract: Of the public graph itself, once it is folded.
        load: Returns the module with the public weights, from the file the user names if any.
    """

    contract: ModelContract
    onnx_contract: ModelContract
    load: Callable[[Path | None], nn.Module]


def _load_sface(weights: Path | None) -> nn.Module:
    backbone = SFaceNet()
    load_public_sface(backbone, weights)
    return backbone


_SFACE = ModelContract(
    architecture="sface",
    dim=128,
    input_size=(112, 112),
    loss="sface",
    training_data=TrainingData(name="not stated by opencv_zoo"),
    licence_note="weights Apache-2.0 (opencv_zoo, face_recognition_sface_2021dec); "
    "the terms of the training pictures are not stated",
    # OpenCV's tutorial "DNN-based Face Detection And Recognition", table of thresholds: the one of
    # highest accuracy on LFW. It states no false match rate.
    threshold=MatchThreshold(value=0.363, fmr=None, fixed_on="LFW, by OpenCV, highest accuracy"),
)

PUBLIC_MODELS: dict[str, PublicModel] = {
    "sface": PublicModel(
        contract=_SFACE,
        onnx_contract=replace(_SFACE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        load=_load_sface,
    ),
}


def load_public_model(name: str, weights: Path | None = None) -> tuple[nn.Module, ModelContract]:
    """Return a network with public weights, in evaluation mode, and its contract.

    Args:
        name: A row of `PUBLIC_MODELS`.
        weights: The public file, if it is not to be looked for; see `marginface.weights`.

    Raises:
        ValueError: If the name is no row of the table.
        WeightsError: If the file is nowhere on this machine, or altered.
    """
    if name not in PUBLIC_MODELS:
        raise unknown_name("model", name, PUBLIC_MODELS)
    # The module starts with random weights; whoever loads one draws nothing from the global state.
    with torch.random.fork_rng(devices=[]):
        backbone = PUBLIC_MODELS[name].load(weights)
    return backbone.eval(), PUBLIC_MODELS[name].contract


def public_name_of(path: Path) -> str | None:
    """Return the row of `PUBLIC_MODELS` whose public file this is, byte for byte, or None."""
    for name in PUBLIC_MODELS:
        weights = PUBLIC_WEIGHTS[name]
        if path.stat().st_size == weights.size_bytes and sha256_of(path) == weights.sha256:
            return name
    return None
