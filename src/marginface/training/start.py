"""Where training starts from: weights drawn from the seed, public ones, or a model file."""

from pathlib import Path

from torch import nn

from marginface.backbones import SFaceNet, load_public_sface, make_backbone
from marginface.data import FaceSet
from marginface.errors import ModelFileError, WeightsError, unknown_name
from marginface.files import sha256_of
from marginface.recognition import load_model, read_contract
from marginface.training.config import TrainConfig
from marginface.training.config_parts import BackboneConfig
from marginface.weights import PUBLIC_WEIGHTS

SFACE = "sface"
ONNX = ".onnx"


def first_backbone(config: BackboneConfig) -> nn.Module:
    """Return the network with the weights training starts from.

    Raises:
        ValueError: If the weights are of another network.
        WeightsError: If public weights are not on this machine.
        ModelFileError: If the file to start from does not hold this network.
    """
    backbone = make_backbone(
        config.name, dim=config.dim, input_size=config.input_size, **config.options
    )
    file = weights_file(config)
    if config.weights == SFACE or (file is not None and file.suffix == ONNX):
        if not isinstance(backbone, SFaceNet):
            raise ValueError(
                f"backbone.weights {config.weights!r} must go with backbone.name 'sface', "
                f"got {config.name!r}"
            )
        load_public_sface(backbone, file)
    elif file is not None:
        _load_model_file(backbone, config, file)
    return backbone


def weights_file(config: BackboneConfig) -> Path | None:
    """Return the file the user names to start from, proven to be there; None for a public name."""
    if config.weights is None or config.weights == SFACE:
        return None
    path = Path(config.weights)
    if path.suffix not in {ONNX, ".safetensors"}:
        raise unknown_name(
            "backbone.weights", config.weights, [SFACE, "FILE.safetensors", "FILE.onnx"]
        )
    if not path.is_file():
        raise WeightsError(f"backbone.weights must be a file or {SFACE!r}, got {path}, not found")
    return path


def _load_model_file(backbone: nn.Module, config: BackboneConfig, path: Path) -> None:
    other, contract = load_model(path)
    there = (contract.architecture, contract.dim, contract.input_size[0])
    if there != (config.name, config.dim, config.input_size):
        raise ModelFileError(
            f"{path} must hold {config.name} with dim {config.dim} and input_size "
            f"{config.input_size}, got {there[0]} with dim {there[1]} and input_size {there[2]}"
        )
    backbone.load_state_dict(other.state_dict())


def licence_note(config: TrainConfig, pack: FaceSet, name: str) -> str:
    """Say under which terms a model of the run stands: those of its data and of its start."""
    notes = [str(pack.meta.get("licence", f"trained on {name}, whose terms are not stated"))]
    if config.backbone.weights is not None:
        notes.append(_start_note(weights_file(config.backbone)))
    return "; ".join(notes)


def _start_note(file: Path | None) -> str:
    """Say what training starts from and under which terms; no file means the public name."""
    public = PUBLIC_WEIGHTS[SFACE]
    terms = f"public weights under {public.licence} ({public.source})"
    if file is None:
        return f"fine-tuned from {terms}"
    if file.suffix != ONNX:
        return f"fine-tuned from {file.name}: {read_contract(file).licence_note}"
    sha256 = sha256_of(file)
    if sha256 == public.sha256:
        return f"fine-tuned from {file.name}, the {terms}"
    return f"fine-tuned from {file.name} (sha256 {sha256}), whose terms are not known"
