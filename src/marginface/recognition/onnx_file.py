"""A model as an ONNX file, with its contract in the metadata: for programs without PyTorch.

    input  "image"    (batch, 3, height, width) float32, as the contract's mean, std and colour say
    output "feature"  (batch, dim) float32, not yet divided by its length

The file is run once before it takes its name, and must give the features the network gives: a
tracer that lost a branch, or the size of a batch, is an error here and not a door left open.
"""

import copy
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from marginface.errors import MissingExtraError, ModelFileError
from marginface.files import atomic_path
from marginface.recognition.contract import ModelContract
from marginface.recognition.engines import import_onnxruntime
from marginface.recognition.gallery import made_pictures
from marginface.recognition.network import OnnxNetwork, TorchNetwork

OPSET = 17
# Two engines add in another order; float32 features of published networks differ by 1e-6 of their
# length, and a difference of 1e-4 moves no score by more than that.
AGREEMENT = 1e-4


def save_onnx(path: str | Path, backbone: nn.Module, contract: ModelContract) -> float:
    """Write a network as an ONNX file that `Recognizer.load` and any ONNX runtime run.

    Args:
        path: The file to write or replace; it must end in .onnx.
        backbone: The network, wherever its weights are; it is not changed.
        contract: What the file will promise; it must be the backbone's.

    Returns:
        The largest difference to the network's own features, as a share of their length, over four
        made pictures.

    Raises:
        ValueError: If the path does not end in .onnx.
        MissingExtraError: If onnx or onnxruntime is not installed.
        ModelFileError: If the network cannot be traced, or the file computes something else.
        CheckpointWriteError: If the disk refuses; the old file is then untouched.
    """
    path = Path(path)
    check_onnx_path(path)
    onnx = _import_onnx()
    # A copy, since tracing sets modes and the caller's weights may lie on another device.
    own = copy.deepcopy(backbone).cpu().float().eval()
    model = onnx.load_from_string(_traced(own, contract))
    for key, value in contract.to_metadata().items():
        model.metadata_props.add(key=key, value=value)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        return _difference(temporary, own, contract)


def check_onnx_path(path: Path) -> None:
    """Raise unless a file is called as ONNX files are.

    Raises:
        ValueError: If it is not.
    """
    if path.suffix != ".onnx":
        raise ValueError(f"an ONNX file must end in .onnx, got {path}")


def add_metadata(path: Path, content: Mapping[str, str]) -> None:
    """Put text under keys of an ONNX file's metadata, in place of what stood there.

    Args:
        path: The file, rewritten.
        content: Key to text.
    """
    onnx = _import_onnx()
    model = onnx.load(str(path))
    kept = {item.key: item.value for item in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, **content})
    path.write_bytes(model.SerializeToString())


def _traced(backbone: nn.Module, contract: ModelContract) -> bytes:
    example = torch.zeros(2, 3, *contract.input_size)
    written: Any = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that needs no further package is called a legacy one, and shapes that the
        # network checks are said to be constants, as they are.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                backbone,
                (example,),
                written,
                dynamo=False,
                opset_version=OPSET,
                input_names=["image"],
                output_names=["feature"],
                dynamic_axes={"image": {0: "batch"}, "feature": {0: "batch"}},
            )
        except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as cause:
            what = " ".join(str(cause).split())[:200]
            raise ModelFileError(
                f"{contract.architecture} cannot be written as ONNX ({what}); keep the model file"
            ) from cause
    return written.getvalue()


def _difference(path: Path, backbone: nn.Module, contract: ModelContract) -> float:
    expected = TorchNetwork(backbone, contract).features(made_pictures()).astype(np.float64)
    network = OnnxNetwork(path)
    # One picture and several, so that a batch size that was traced in is seen.
    got = np.concatenate([network.features(part) for part in np.split(made_pictures(), [1])])
    lengths = np.linalg.norm(expected, axis=1)
    found = float((np.linalg.norm(got - expected, axis=1) / np.maximum(lengths, 1e-12)).max())
    if not found <= AGREEMENT:
        raise ModelFileError(
            f"the ONNX file of {contract.architecture} must give the network's own features, got "
            f"others by {found:.2g} of their length; it was not written; keep the model file"
        )
    return found


def _import_onnx() -> Any:
    try:
        import onnx

        import_onnxruntime()
    except ImportError as cause:
        raise MissingExtraError(
            f"writing an ONNX file needs {cause.name}, which is not installed; "
            "pip install 'marginface[onnx]' onnx"
        ) from cause
    return onnx
