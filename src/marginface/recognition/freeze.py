"""Put a threshold into a model: fixed on one list of pairs, applied wherever the model goes."""

from dataclasses import replace
from pathlib import Path

from marginface.errors import ModelFileError
from marginface.evaluation import FrozenThreshold
from marginface.recognition.contract import MatchThreshold
from marginface.recognition.model_file import save_model
from marginface.recognition.network import TorchNetwork
from marginface.recognition.recognizer import Recognizer


def check_freezable(
    recognizer: Recognizer, out: str | Path, *, score: str, flip_average: bool | None
) -> None:
    """Raise unless a threshold fixed under these settings may travel in a copy of the model.

    Args:
        recognizer: The model.
        out: Where the copy goes.
        score: What the threshold is of.
        flip_average: As in `Recognizer.embed_aligned`; it must be what the contract says.

    Raises:
        ValueError: If the score is no cosine, the mirrored face is treated otherwise than the
            contract says, or the copy would replace the model.
        ModelFileError: If the model is an ONNX file.
    """
    if score != "cosine":
        raise ValueError(f"a threshold of a model is a cosine, got score {score!r}; use cosine")
    contract = recognizer.contract
    if flip_average not in (None, contract.flip_average):
        raise ValueError(
            f"flip_average must be the model's own, {contract.flip_average}, to fix its threshold, "
            f"got {flip_average}"
        )
    if not isinstance(recognizer.network, TorchNetwork):
        raise ModelFileError(
            f"{recognizer.name} is an ONNX network, whose contract is not rewritten; "
            "give a model file"
        )
    out, model = Path(out), Path(recognizer.name)
    if out.suffix != ".safetensors":
        raise ValueError(f"the copy of the model must end in .safetensors, got {out}")
    if out.exists() and model.exists() and out.samefile(model):
        raise ValueError(f"the copy must be another file than the model, got {out} for both")


def write_with_threshold(
    recognizer: Recognizer, out: str | Path, frozen: FrozenThreshold, *, fixed_on: str
) -> MatchThreshold:
    """Write a copy of a model that carries a threshold, and return what it carries.

    Args:
        recognizer: The model; it is not changed.
        out: The file to write or replace.
        frozen: From `freeze_threshold`, on cosines.
        fixed_on: The name of the pair list; the number of non-mated pairs is added.

    Raises:
        ValueError: If the threshold is no cosine.
        ModelFileError: If the model is an ONNX file.
        CheckpointWriteError: If the disk refuses.
    """
    check_freezable(recognizer, out, score="cosine", flip_average=None)
    assert isinstance(recognizer.network, TorchNetwork)
    threshold = MatchThreshold(
        value=frozen.value,
        fmr=frozen.target_fmr,
        fixed_on=f"{fixed_on}, {frozen.nonmated_pairs:,} non-mated pairs",
    )
    contract = replace(recognizer.contract, threshold=threshold)
    save_model(out, recognizer.network.backbone, contract)
    return threshold
