"""`marginface export`: a model file of a run that is not finished, or a model as an ONNX file."""

import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from marginface.cli.output import Json, say, write_json
from marginface.errors import ModelFileError
from marginface.recognition import Recognizer, save_onnx
from marginface.recognition.network import TorchNetwork
from marginface.training.export import export_model


def export(
    model: Annotated[
        str,
        Parameter(
            help="Folder of a run, finished or not; for an ONNX file also a model file or the name "
            "of public weights: sface."
        ),
    ],
    out: Annotated[Path, Parameter(help="The file to write: .safetensors, or .onnx.")],
    *,
    json: Json = None,
) -> None:
    """Write a run's network as a model file, or any model as an ONNX file for other programs.

    Of a run it is the network of the last checkpoint; the run may go on, or have been stopped, on
    any number of processes, and its data is not needed. An ONNX file carries the model's contract
    and is run once: it is written only if it gives the features that the network gives.

    **Examples**

        marginface export runs/arcface arcface.safetensors

        marginface export runs/arcface/model.safetensors arcface.onnx
    """
    if out.suffix != ".onnx":
        step = export_model(Path(model), out)
        say(f"{out}: the network after step {step:,} of {model}")
        write_json({"model": model, "out": str(out), "step": step}, json)
        return
    if not Path(model).is_dir():
        differs = _write_onnx(model, out, of=model)
        write_json({"model": model, "out": str(out), "difference": differs}, json)
        return
    with tempfile.TemporaryDirectory() as folder:
        newest = Path(folder) / "model.safetensors"
        step = export_model(Path(model), newest)
        differs = _write_onnx(str(newest), out, of=f"step {step:,} of {model}")
    write_json({"model": model, "out": str(out), "step": step, "difference": differs}, json)


def _write_onnx(model: str, out: Path, *, of: str) -> float:
    """Write the file; return by how much of their length its features differ."""
    recognizer = Recognizer.load(model)
    if not isinstance(recognizer.network, TorchNetwork):
        raise ModelFileError(f"{model} is an ONNX file already; copy it")
    differs = save_onnx(out, recognizer.network.backbone, recognizer.contract)
    say(
        f"{out}: the network of {of}; its features differ from PyTorch's by {differs:.1g} of their "
        "length"
    )
    return differs
