"""The programs that run an ONNX file on the CPU, behind one face.

    onnxruntime     float32 as the file says; the default
    openvino        float32 as well, often faster on Intel's processors
    openvino-bf16   OpenVINO that multiplies in bfloat16: another 2e-4 or so of cosine away

A file with quantised layers is run in integers by all of them. Both packages report that they were
imported to their makers, over the network; nothing here leaves the machine unasked, so both are
told not to before they are imported.
"""

import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from marginface.errors import MissingExtraError, ModelFileError, unknown_name

DEFAULT_ENGINE = "onnxruntime"


class Session(Protocol):
    """An ONNX file, opened by an engine; threads may share one."""

    version: str
    inputs: dict[str, tuple[int | None, ...]]
    metadata: Mapping[str, str]

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the graph's first output for one batch."""


class OnnxRuntimeSession:
    """A file run by onnxruntime.

    Args:
        path: The ONNX file.

    Raises:
        MissingExtraError: If onnxruntime is not installed.
        ModelFileError: If the file does not load.
    """

    def __init__(self, path: Path) -> None:
        try:
            onnxruntime = import_onnxruntime()
        except ImportError as cause:
            raise MissingExtraError(
                f"{path} is an ONNX file and needs onnxruntime, which is not installed; "
                "pip install 'marginface[onnx]'"
            ) from cause
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # One setting of threads for all engines, so that OMP_NUM_THREADS is obeyed here too.
        options.intra_op_num_threads = torch.get_num_threads()
        providers = ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as cause:  # onnxruntime's own classes are private
            raise _not_run(path, "onnxruntime", cause) from cause
        self.version = f"onnxruntime {onnxruntime.__version__}"
        self.inputs = {
            each.name: tuple(size if isinstance(size, int) else None for size in each.shape)
            for each in self._session.get_inputs()
        }
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the graph's first output for one batch."""
        name = next(iter(self.inputs))
        return np.asarray(self._session.run(None, {name: images})[0], np.float32)


class OpenVinoSession:
    """A file run by OpenVINO.

    Args:
        path: The ONNX file.
        precision: "f32", or "bf16" to multiply in bfloat16.

    Raises:
        MissingExtraError: If openvino is not installed.
        ModelFileError: If the file does not load.
    """

    def __init__(self, path: Path, precision: str = "f32") -> None:
        try:
            openvino = import_openvino()
        except ImportError as cause:
            raise MissingExtraError(
                "engine openvino needs openvino, which is not installed; "
                "pip install 'marginface[openvino]'"
            ) from cause
        wishes = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
        }
        # Its reader of any format tries them all, and each complains of what it cannot read.
        reader = openvino.frontend.FrontEndManager().load_by_framework("onnx")
        try:
            model = reader.convert(reader.load(str(path)))
            self._compiled = openvino.Core().compile_model(model, "CPU", wishes)
        except Exception as cause:  # its own classes are private too
            raise _not_run(path, "openvino", cause) from cause
        number = openvino.get_version().split("-")[0]
        self.version = f"openvino {number} {precision}"
        self.inputs = {
            each.any_name: tuple(
                size.get_length() if size.is_static else None for size in each.partial_shape
            )
            for each in model.inputs
        }
        place = ["framework"]
        held = model.get_rt_info(place).value if model.has_rt_info(place) else {}
        self.metadata: Mapping[str, str] = {key: str(value) for key, value in held.items()}
        self._requests = threading.local()

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the graph's first output for one batch."""
        # A request holds its inputs and outputs, so two threads must not share one.
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        return np.array(self._requests.own.infer([images])[0], np.float32)


ENGINES: dict[str, Callable[[Path], Session]] = {
    "onnxruntime": OnnxRuntimeSession,
    "openvino": OpenVinoSession,
    "openvino-bf16": lambda path: OpenVinoSession(path, "bf16"),
}


def check_engine(engine: str) -> None:
    """Raise unless an engine is called so.

    Raises:
        ValueError: If none is.
    """
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)


def import_onnxruntime() -> Any:
    """Import onnxruntime with its reports to its maker turned off, unless the user has said more.

    Raises:
        ImportError: If it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def import_openvino() -> Any:
    """Import openvino without the package that reports the import to its maker.

    Raises:
        ImportError: If it is not installed.
    """
    reporter = "openvino_telemetry"
    is_fresh = "openvino" not in sys.modules and reporter not in sys.modules
    if is_fresh:
        # What Python takes for a package that is not installed; OpenVINO has a stub for that case.
        sys.modules[reporter] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if is_fresh:
            del sys.modules[reporter]
    return openvino


def _not_run(path: Path, engine: str, cause: Exception) -> ModelFileError:
    words = " ".join(str(cause).split())
    return ModelFileError(f"{path} is no ONNX network {engine} can run ({words})")
