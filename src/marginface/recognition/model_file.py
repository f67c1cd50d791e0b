"""The model file: `model.safetensors`, the weights and the contract they must be used under.

Written in one step, and the same model gives the same bytes. Loading believes nothing: the
contract's architecture is built, and the names, shapes and kinds of all its tensors must be those
of the file.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from marginface.axes import Tensor
from marginface.backbones import make_backbone
from marginface.errors import ModelFileError
from marginface.files import write_atomically
from marginface.recognition.contract import ModelContract, read_kind
from marginface.reconstruction.fusion import fuse

# The option of a contract under which a recogniser that looks at reconstructions keeps its config.
FUSION = "fusion"


def save_model(path: str | Path, backbone: nn.Module, contract: ModelContract) -> None:
    """Write a backbone and its contract to one file, in one step.

    Args:
        path: The file to write or replace, by custom `model.safetensors`.
        backbone: The network, wherever its weights are; it is not changed.
        contract: What the file will promise; it must be the backbone's.

    Raises:
        ModelFileError: If the contract is not the backbone's, or a weight is not finite.
        CheckpointWriteError: If the disk refuses; the old file is then untouched.
    """
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in backbone.state_dict().items()
    }
    _check_tensors(str(path), contract, tensors)
    # The whole file is made in memory, so that a full disk is an error of ours and not of Rust.
    write_atomically(Path(path), save(tensors, contract.to_metadata()))


def load_model(path: str | Path) -> tuple[nn.Module, ModelContract]:
    """Read a model file: the network in evaluation mode, on the CPU, and its contract.

    Raises:
        ModelFileError: If it is absent, cut off, another kind of file, or breaks its contract.
    """
    path = Path(path)
    contract, tensors = _read(path)
    backbone = _check_tensors(str(path), contract, tensors)
    backbone.load_state_dict(tensors, strict=True)
    return backbone.eval(), contract


def read_contract(path: str | Path) -> ModelContract:
    """Read only the contract of a model file, which is fast whatever the size of the network.

    Raises:
        ModelFileError: If it is absent, cut off, another kind of file, or has no contract.
    """
    path = Path(path)
    _refuse_other_files(path)
    try:
        with safe_open(path, framework="pt") as file:
            return _contract_of(path, file.metadata() or {})
    except SafetensorError as cause:
        raise ModelFileError(f"{path}: {reason_broken(path, cause)}") from cause


def _read(path: Path) -> tuple[ModelContract, dict[str, Tensor]]:
    _refuse_other_files(path)
    try:
        with safe_open(path, framework="pt") as file:
            contract = _contract_of(path, file.metadata() or {})
            return contract, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as cause:
        raise ModelFileError(f"{path}: {reason_broken(path, cause)}") from cause


def _contract_of(path: Path, metadata: dict[str, str]) -> ModelContract:
    try:
        kind = read_kind(metadata)["kind"]
        if kind == "checkpoint":
            raise ModelFileError(
                f"{path} is a training checkpoint, not a model file; "
                f"give the run's {path.with_name('model.safetensors')}"
            )
        return ModelContract.from_metadata(metadata)
    except ValueError as cause:
        hint = "; marginface writes model files with save_model" if not metadata else ""
        raise ModelFileError(f"{path}: {cause}{hint}") from cause


def _check_tensors(name: str, contract: ModelContract, tensors: dict[str, Tensor]) -> nn.Module:
    """Build what the contract names and hold the tensors against it."""
    backbone = build_backbone(name, contract)
    says = f"{name}: contract says {contract.architecture} with dim {contract.dim}"
    blame = "the file was altered or mixed up"
    expected = backbone.state_dict()
    for key, wanted in expected.items():
        if key not in tensors:
            raise ModelFileError(f"{says}, but tensor {key} is absent; {blame}")
        got = tensors[key]
        if got.shape != wanted.shape:
            shape = tuple(got.shape)
            raise ModelFileError(
                f"{says}, but tensor {key} has shape {shape} where {tuple(wanted.shape)} "
                f"belongs; {blame}"
            )
        if got.dtype != wanted.dtype:
            raise ModelFileError(
                f"{says}, but tensor {key} holds {got.dtype} where {wanted.dtype} belongs; {blame}"
            )
        if broken := int((~torch.isfinite(got)).sum()):
            raise ModelFileError(
                f"{name}: tensor {key} holds {broken:,} NaN or infinite values of {got.numel():,}; "
                "this network has diverged"
            )
    if unknown := sorted(tensors.keys() - expected.keys()):
        raise ModelFileError(f"{says}, which has no tensor {unknown[0]}; {blame}")
    return backbone


def build_backbone(name: str, contract: ModelContract) -> nn.Module:
    """Build the untrained network a contract names, leaving the global random state alone.

    Args:
        name: What an error should blame, usually the file's path.
        contract: What to build.

    Raises:
        ModelFileError: If the contract names something that cannot be built.
    """
    height, width = contract.input_size
    if height != width:
        raise ModelFileError(f"{name}: input_size must be square, got ({height}, {width})")
    try:
        with torch.random.fork_rng(devices=[]):
            options = dict(contract.options)
            fusion = options.pop(FUSION, None)
            backbone: nn.Module = make_backbone(
                contract.architecture, dim=contract.dim, input_size=height, **options
            )
            if fusion is not None:
                backbone = fuse(backbone, fusion, input_size=height)
    except (ValueError, TypeError, KeyError) as cause:
        raise ModelFileError(f"{name}: {cause}") from cause
    return backbone


def _refuse_other_files(path: Path) -> None:
    if path.is_dir():
        inside = path / "model.safetensors"
        hint = f"; give {inside}" if inside.is_file() else ""
        raise ModelFileError(f"{path} is a folder, not a model file{hint}")
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist; a run folder keeps model.safetensors")
    if path.suffix == ".onnx":
        raise ModelFileError(f"{path} is an ONNX file, which only Recognizer.load runs")
    with path.open("rb") as file:
        start = file.read(2)
    # Both are what torch.save writes: a zip archive, and the bare pickle of old versions.
    if start in (b"PK", b"\x80\x02"):
        raise ModelFileError(
            f"{path} is a pickle of torch.save, not safetensors; opening one can run foreign "
            "code, so marginface never does; convert it where you trust it"
        )


def reason_broken(path: Path, cause: Exception) -> str:
    """Say what is wrong with a file that safetensors refuses."""
    size = path.stat().st_size
    with path.open("rb") as file:
        promised = 8 + int.from_bytes(file.read(8), "little")
        if 8 < size < promised < 8 + 100_000_000:
            return f"header of {promised:,} bytes promised, the file has {size:,}; it was cut off"
        try:
            header = json.loads(file.read(promised - 8)) if promised <= size else {}
            ends = [item["data_offsets"][1] for key, item in header.items() if key[0] != "_"]
            promised += max(ends, default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            promised = 0
    if size < promised < 1 << 50:
        return f"{promised:,} bytes promised, the file has {size:,}; it was cut off"
    return f"not a safetensors file ({cause}); it has {size:,} bytes"
