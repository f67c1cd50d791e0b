"""From two pictures to a decision: detect, align, embed, compare.

    score = embedding(a) · embedding(b), a cosine in [-1, 1]
    the same person is said to be in both when score >= threshold

The threshold is part of the model: it travels in the contract with the false match rate it was
fixed at and the pairs it was fixed on. A model without one gives scores and no decision, because a
threshold somebody guessed is worse than none.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from marginface.detection import Detector
from marginface.errors import ModelFileError, unknown_name
from marginface.recognition.acquisition import Picture, find_face, open_picture
from marginface.recognition.contract import ModelContract
from marginface.recognition.engines import DEFAULT_ENGINE, check_engine
from marginface.recognition.model_file import load_model
from marginface.recognition.network import Network, OnnxNetwork, TorchNetwork
from marginface.recognition.public import PUBLIC_MODELS, load_public_model, public_name_of
from marginface.sphere import normalise

# Larger batches make larger temporaries, which the system hands out page by page: at 64 that took
# as long as the arithmetic.
BATCH_SIZE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What is said about two pictures.

    Args:
        score: Cosine of the two embeddings; higher means more alike.
        threshold: Accept when score >= threshold; None if the model has none and none was given.
        is_match: Whether score >= threshold; None without a threshold.
        fmr: The false match rate the threshold was fixed at; None where nobody stated it.
        fixed_on: Where the threshold comes from; empty without a threshold.
    """

    score: float
    threshold: float | None
    is_match: bool | None
    fmr: float | None
    fixed_on: str


class Recognizer:
    """A network with its contract, ready for pictures; `load` makes one.

    Args:
        network: What embeds aligned faces.
        name: What reports call it.
        detector: Finds the faces; loaded when first needed if absent.
    """

    def __init__(self, network: Network, *, name: str, detector: Detector | None = None) -> None:
        self.network = network
        self.name = name
        self._detector = detector

    def __repr__(self) -> str:
        contract = self.contract
        fixed = contract.threshold
        threshold = f"threshold {fixed.value:.3f}" if fixed else "no threshold"
        return f"Recognizer({self.name}: {contract.architecture}, dim {contract.dim}, {threshold})"

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        contract: ModelContract | None = None,
        weights: Path | None = None,
        detector: Detector | None = None,
        engine: str | None = None,
    ) -> "Recognizer":
        """Load a model file, an ONNX file or public weights by name.

        Args:
            model: A path that ends in .safetensors or .onnx, or a row of `PUBLIC_MODELS`.
            contract: For an ONNX file without one in its metadata: what it expects.
            weights: For a name: the public file, if it is not to be looked for.
            detector: Finds the faces; loaded when first needed if absent.
            engine: For an ONNX file: what runs it, a row of `ENGINES`; onnxruntime by default.

        Raises:
            ValueError: If it is neither a file nor a known name, or no engine is called so, or an
                engine is given for what PyTorch runs.
            ModelFileError: If the file is absent, broken, or breaks its contract.
            WeightsError: If the public weights are nowhere on this machine, or altered.
            MissingExtraError: If an ONNX file comes without its engine.
        """
        path = Path(model)
        if engine is not None:
            check_engine(engine)
        if path.suffix == ".onnx":
            return cls(_open_onnx(path, contract, engine), name=str(model), detector=detector)
        if engine is not None:
            raise _not_for_torch(engine, str(model))
        if contract is not None:
            raise ValueError(f"contract goes with an ONNX file only, got one with {model}")
        if str(model) in PUBLIC_MODELS:
            network: Network = TorchNetwork(*load_public_model(str(model), weights))
        else:
            _refuse_misspelt_name(path)
            network = TorchNetwork(*load_model(path))
        return cls(network, name=str(model), detector=detector)

    @classmethod
    def from_backbone(
        cls, backbone: nn.Module, contract: ModelContract, *, name: str
    ) -> "Recognizer":
        """Wrap a network that is in memory; it is put in evaluation mode.

        Args:
            backbone: The network, on whatever device.
            contract: What it expects and gives.
            name: What reports call it.
        """
        return cls(TorchNetwork(backbone, contract), name=name)

    @property
    def contract(self) -> ModelContract:
        """What the network expects and gives."""
        return self.network.contract

    @property
    def detector(self) -> Detector:
        """The face detector, loaded when first asked for."""
        if self._detector is None:
            self._detector = Detector.load()
        return self._detector

    def embed_aligned(
        self,
        faces: NDArray[np.uint8],
        *,
        flip_average: bool | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> NDArray[np.float32]:
        """Return the unit embeddings of aligned faces, one row each.

        Args:
            faces: RGB, uint8, shape (n, height, width, 3), aligned to the contract's template; of
                any size, resized to the contract's.
            flip_average: Add the feature of the mirrored face before dividing by the length; None
                for what the contract says.
            batch_size: Faces a pass; it changes speed and memory, and the values only by rounding.

        Raises:
            ValueError: If the faces are not uint8 of that shape.
            ModelFileError: If the network gives NaN, infinity or another length.
        """
        return self.embed_with_norms(faces, flip_average=flip_average, batch_size=batch_size)[0]

    def embed_with_norms(
        self,
        faces: NDArray[np.uint8],
        *,
        flip_average: bool | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the embeddings of `embed_aligned` and the lengths of their features, shape (n,).

        Where the mirrored face is added, the length is that of the mean of both features, so that
        it stays on the scale the training gave it: κ, for a loss that reads it as one.

        Args:
            faces: See `embed_aligned`, and so all others.
            flip_average: Add the mirrored face; None for what the contract says.
            batch_size: Faces a pass.

        Raises:
            ValueError: If the faces are not uint8 of that shape.
            ModelFileError: If the network gives NaN, infinity or another length.
        """
        if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[-1] != 3:
            raise ValueError(
                f"faces must be uint8 of shape (n, height, width, 3), "
                f"got {faces.dtype} {faces.shape}"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        is_averaged = self.contract.flip_average if flip_average is None else flip_average
        embeddings = np.empty((len(faces), self.contract.dim), np.float32)
        norms = np.empty(len(faces), np.float32)
        for start in range(0, len(faces), batch_size):
            batch = faces[start : start + batch_size]
            features = self.network.features(batch)
            if is_averaged:
                features = features + self.network.features(batch, is_mirrored=True)
            raw, rows = torch.from_numpy(features), slice(start, start + batch_size)
            embeddings[rows] = normalise(raw).numpy()
            lengths = torch.linalg.vector_norm(raw, dim=-1)
            norms[rows] = (lengths / 2 if is_averaged else lengths).numpy()
        return embeddings, norms

    def embed(
        self, picture: Picture, *, is_aligned: bool = False, flip_average: bool | None = None
    ) -> NDArray[np.float32]:
        """Find the largest central face of a picture and return its unit embedding, shape (dim,).

        Args:
            picture: A path, or RGB uint8 of shape (height, width, 3).
            is_aligned: The picture is already a crop aligned to the template.
            flip_average: See `embed_aligned`.

        Raises:
            NoFaceError: If no face is found.
            DataError: If the picture cannot be read.
        """
        face = open_picture(picture) if is_aligned else find_face(picture, self.detector)
        return self.embed_aligned(face[np.newaxis], flip_average=flip_average)[0]

    def verify(
        self,
        first: Picture,
        second: Picture,
        *,
        threshold: float | None = None,
        flip_average: bool | None = None,
    ) -> Verification:
        """Compare the faces of two pictures.

        Args:
            first: A path, or RGB uint8 of shape (height, width, 3).
            second: The other one; the order does not matter.
            threshold: Overrules the contract's; the record then states no false match rate.
            flip_average: See `embed_aligned`.

        Raises:
            NoFaceError: If one of them shows no face.
            DataError: If one of them cannot be read.
            ValueError: If the threshold is no cosine.
        """
        if threshold is not None and not -1 <= threshold <= 1:
            raise ValueError(f"threshold must be a cosine in [-1, 1], got {threshold}")
        pair = [self.embed(each, flip_average=flip_average) for each in (first, second)]
        # Rounding may leave ±1 by a few 1e-8.
        score = float(np.clip(pair[0].astype(np.float64) @ pair[1].astype(np.float64), -1, 1))
        fixed = self.contract.threshold
        if threshold is not None:
            return Verification(
                score=score,
                threshold=threshold,
                is_match=score >= threshold,
                fmr=None,
                fixed_on="given by the caller",
            )
        return Verification(
            score=score,
            threshold=fixed.value if fixed else None,
            is_match=score >= fixed.value if fixed else None,
            fmr=fixed.fmr if fixed else None,
            fixed_on=fixed.fixed_on if fixed else "",
        )


def _open_onnx(path: Path, contract: ModelContract | None, engine: str | None) -> Network:
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist; give an ONNX file")
    # The quantised public files do not run as they are, so their weights go to our module.
    if contract is None and (name := public_name_of(path)) is not None:
        if engine is not None:
            raise _not_for_torch(engine, str(path))
        return TorchNetwork(*load_public_model(name, path))
    return OnnxNetwork(path, contract, engine=engine or DEFAULT_ENGINE)


def _not_for_torch(engine: str, model: str) -> ValueError:
    return ValueError(
        f"engine must be left out for {model}, which PyTorch runs, got {engine!r}; for another "
        f"engine write it as an ONNX file: marginface export {model} model.onnx"
    )


def _refuse_misspelt_name(path: Path) -> None:
    """Raise for a word that is neither a file nor looks like one."""
    looks_like_a_file = path.exists() or path.suffix != "" or len(path.parts) > 1
    if not looks_like_a_file:
        raise unknown_name("model", str(path), [*PUBLIC_MODELS, "FILE.safetensors", "FILE.onnx"])
