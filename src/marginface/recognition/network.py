"""Run a network on aligned faces exactly as its contract says, in PyTorch or in another engine.

    feature = network((resize(face) - mean) / std)

Everything is float32 unless an engine that says otherwise is asked for: bf16 saves time and costs a
few ten-thousandths of cosine, which moves scores across a threshold.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from marginface.data.resized import resize_face
from marginface.errors import ModelFileError
from marginface.recognition.contract import KEY, ModelContract
from marginface.recognition.engines import DEFAULT_ENGINE, ENGINES, check_engine


class Network(ABC):
    """What turns aligned faces into raw features under a contract."""

    def __init__(self, contract: ModelContract) -> None:
        self.contract = contract
        self._mean = np.asarray(contract.mean, np.float32)
        self._std = np.asarray(contract.std, np.float32)

    @property
    def engine(self) -> str:
        """What runs the network, with its version."""
        return type(self).__name__

    @abstractmethod
    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the raw features (batch, dim) of ready inputs (batch, 3, height, width)."""

    def ready(self, faces: NDArray[np.uint8], *, is_mirrored: bool = False) -> NDArray[np.float32]:
        """Return the inputs (batch, 3, height, width) that the contract makes of aligned faces."""
        faces = np.stack([resize_face(face, self.contract.input_size) for face in faces])
        if is_mirrored:
            faces = faces[:, :, ::-1]
        if self.contract.colour == "BGR":
            faces = faces[..., ::-1]
        inputs: NDArray[np.float32] = (faces.astype(np.float32) - self._mean) / self._std
        return np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))

    def features(self, faces: NDArray[np.uint8], *, is_mirrored: bool = False) -> NDArray[Any]:
        """Return the raw features of aligned RGB faces (batch, height, width, 3) of any size.

        Args:
            faces: Aligned to the contract's template; resized here to the contract's input size.
            is_mirrored: Mirror each face left to right first.

        Raises:
            ModelFileError: If a feature is NaN or infinite, or of another length than promised.
        """
        features = self.run(self.ready(faces, is_mirrored=is_mirrored))
        if features.shape != (len(faces), self.contract.dim):
            raise ModelFileError(
                f"contract says dim {self.contract.dim}, but the network gave shape "
                f"{features.shape} for {len(faces)} faces"
            )
        if broken := int((~np.isfinite(features)).any(axis=1).sum()):
            raise ModelFileError(
                f"the network gave NaN or infinite features for {broken:,} of {len(faces):,} "
                "faces; it has diverged, or its contract states a wrong mean or std"
            )
        return features


class TorchNetwork(Network):
    """A PyTorch network; it is put in evaluation mode and left on the device where it is."""

    def __init__(self, backbone: nn.Module, contract: ModelContract) -> None:
        super().__init__(contract)
        self.backbone = backbone.eval()

    @property
    def engine(self) -> str:
        """What runs the network, with its version."""
        return f"torch {torch.__version__}"

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the raw features (batch, dim) of ready inputs (batch, 3, height, width)."""
        parameter = next(self.backbone.parameters())
        with torch.inference_mode():
            # A fifth faster on CPUs, and the weights may stay as they are.
            images = torch.from_numpy(inputs).contiguous(memory_format=torch.channels_last)
            features = self.backbone(images.to(parameter.device))
            return features.float().cpu().numpy()


class OnnxNetwork(Network):
    """An ONNX network, run by one of the `ENGINES` on the CPU.

    Args:
        path: The ONNX file; it must have one image input and its first output must be the feature.
        contract: What it expects; None to read it from the file's metadata.
        engine: A row of `ENGINES`.

    Raises:
        ValueError: If no engine is called so.
        MissingExtraError: If the engine is not installed.
        ModelFileError: If the file does not load, has no contract, or another input size.
    """

    def __init__(
        self, path: Path, contract: ModelContract | None = None, *, engine: str = DEFAULT_ENGINE
    ) -> None:
        check_engine(engine)
        self._path, self._engine = path, engine
        self._session = ENGINES[engine](path)
        super().__init__(contract or _contract_of(path, self._session.metadata))
        inputs = self._session.inputs
        if len(inputs) != 1:
            raise ModelFileError(
                f"{path} must have one input, the image; it has {', '.join(inputs)}"
            )
        shape = next(iter(inputs.values()))
        expected = (3, *self.contract.input_size)
        if len(shape) != 4 or any(
            got is not None and got != wanted
            for got, wanted in zip(shape[1:], expected, strict=True)
        ):
            raise ModelFileError(
                f"{path}: contract says input (batch, {', '.join(map(str, expected))}), "
                f"but the graph takes {shape}"
            )
        # Many public files were exported with a batch of exactly one.
        self._batch = shape[0] or None

    @property
    def engine(self) -> str:
        """What runs the network, with its version."""
        return self._session.version

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy in another process opens the file anew; a session cannot travel.
        self.__dict__.update(state, _session=ENGINES[state["_engine"]](state["_path"]))

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the raw features (batch, dim) of ready inputs (batch, 3, height, width)."""
        if self._batch is None:
            return self._run(inputs)
        parts = []
        for start in range(0, len(inputs), self._batch):
            part = inputs[start : start + self._batch]
            short = self._batch - len(part)
            filled = np.pad(part, ((0, short), (0, 0), (0, 0), (0, 0))) if short else part
            parts.append(self._run(filled)[: len(part)])
        return np.concatenate(parts)

    def _run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._session.run(inputs).reshape(len(inputs), -1)


def _contract_of(path: Path, metadata: Mapping[str, str]) -> ModelContract:
    try:
        return ModelContract.from_metadata(metadata)
    except ValueError as cause:
        hint = "" if KEY in metadata else "; pass contract=ModelContract(...) with what it expects"
        raise ModelFileError(f"{path}: {cause}{hint}") from cause
