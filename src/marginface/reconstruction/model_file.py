"""The reconstruction file of a run: the networks and what they must be built and fed with.

It lies beside the model file, whose feature maps it may decode from. Written in one step; loading
believes nothing that does not fit.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from marginface.errors import ModelFileError
from marginface.files import write_atomically
from marginface.reconstruction.reconstructor import Reconstructor

KEY = "marginface"
FORMAT = 1


@dataclass(frozen=True, slots=True, eq=False)
class SavedReconstructor:
    """A reconstructor as read from its file.

    Args:
        reconstructor: The networks, in evaluation mode.
        decoder_input: `image`, or the stage of the recogniser whose output it decodes from.
    """

    reconstructor: Reconstructor
    decoder_input: str


def save_reconstructor(path: Path, reconstructor: Reconstructor, *, decoder_input: str) -> None:
    """Write the networks to one file.

    Raises:
        CheckpointWriteError: If the disk refuses; the old file is then untouched.
    """
    content = {
        "kind": "reconstruction",
        "format": FORMAT,
        "options": reconstructor.options,
        "decoder_input": decoder_input,
    }
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in reconstructor.state_dict().items()
    }
    write_atomically(path, save(tensors, {KEY: json.dumps(content, sort_keys=True)}))


def load_reconstructor(path: Path) -> SavedReconstructor:
    """Read the networks of a file.

    Raises:
        ModelFileError: If it is absent, cut off, another kind of file, or does not fit.
    """
    if not path.is_file():
        raise ModelFileError(
            f"{path} must be the reconstruction file of a run, not found; train with "
            "reconstruction to get one"
        )
    try:
        with safe_open(path, framework="pt") as file:
            content = json.loads((file.metadata() or {}).get(KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as cause:
        raise ModelFileError(f"{path} must be a whole reconstruction file ({cause})") from cause
    if not isinstance(content, dict) or content.get("kind") != "reconstruction":
        kind = content.get("kind", "another") if isinstance(content, dict) else "foreign"
        raise ModelFileError(f"{path} must be a reconstruction file, got a {kind} file")
    if content.get("format") != FORMAT:
        raise ModelFileError(
            f"{path} must have format {FORMAT}, got {content.get('format')}; "
            "a newer marginface wrote it, so update this one"
        )
    try:
        options = dict(content["options"])
        if options.get("feature_shape") is not None:
            options["feature_shape"] = tuple(options["feature_shape"])
        reconstructor = Reconstructor(**options)
        reconstructor.load_state_dict(tensors, strict=True)
        return SavedReconstructor(reconstructor.eval(), str(content["decoder_input"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as cause:
        raise ModelFileError(f"{path}: its content does not fit together ({cause})") from cause
