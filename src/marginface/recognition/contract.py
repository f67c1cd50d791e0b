"""The contract of a model: everything an image must go through for its embedding to mean anything.

It travels in the metadata of `model.safetensors`, one JSON value under the key "marginface":

    input = (uint8 image of input_size - mean) / std, channels in `colour` order
    feature = network(input)            of length dim
    embedding = feature / |feature|     summed with the mirrored image's first where flip_average

A model without its contract still runs on wrongly scaled or wrongly cut faces, only worse, and
nobody notices. So loading checks every field, and a file without one is not a model file.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

KEY = "marginface"
FORMAT = 1
COLOURS = ("RGB", "BGR")
TEMPLATES = ("arcface-112",)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What a model was trained on.

    Args:
        name: The data set's name.
        identities: Number of people; 0 where it is not stated.
        images: Number of pictures; 0 where it is not stated.
        fingerprint: Digest of the data set; empty where it is not stated.
    """

    name: str
    identities: int = 0
    images: int = 0
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchThreshold:
    """A decision threshold and where it was fixed: two faces match when score >= value.

    Args:
        value: The threshold, a cosine in [-1, 1].
        fmr: The false match rate it was fixed at, a fraction; None where nobody stated it.
        fixed_on: The pairs it was fixed on.
    """

    value: float
    fmr: float | None
    fixed_on: str

    def __post_init__(self) -> None:
        if not -1 <= self.value <= 1:
            raise ValueError(f"threshold must be a cosine in [-1, 1], got {self.value}")
        if self.fmr is not None and not 0 <= self.fmr <= 1:
            raise ValueError(f"fmr must be a fraction in [0, 1], got {self.fmr}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelContract:
    """What a network expects and gives, how it came to be, and how it may be used.

    Args:
        architecture: Name in the table of backbones.
        dim: Length of the feature.
        input_size: (height, width) of the aligned face in pixels.
        options: Further options of the architecture.
        colour: Channel order of the input, "RGB" or "BGR".
        mean: Subtracted from each channel of the 0 to 255 image, in `colour` order.
        std: Then divides each channel.
        template: Name of the five-point template the face is aligned to.
        loss: Name of the training loss.
        loss_options: Its options.
        training_data: What it was trained on.
        licence_note: Under which terms the weights and their data stand, as far as known.
        versions: Of marginface and torch, and whatever else made the file.
        flip_average: Whether an embedding also averages over the mirrored face by default.
        threshold: The decision threshold, where one was fixed.

    Example:
        >>> contract = ModelContract(architecture="iresnet18", dim=512, input_size=(112, 112))
        >>> ModelContract.from_metadata(contract.to_metadata()) == contract
        True
    """

    architecture: str
    dim: int
    input_size: tuple[int, int]
    options: dict[str, Any] = field(default_factory=dict)
    colour: str = "RGB"
    mean: tuple[float, ...] = (127.5, 127.5, 127.5)
    std: tuple[float, ...] = (127.5, 127.5, 127.5)
    template: str = "arcface-112"
    loss: str = "not stated"
    loss_options: dict[str, Any] = field(default_factory=dict)
    training_data: TrainingData = field(default_factory=lambda: TrainingData(name="not stated"))
    licence_note: str = "not stated"
    versions: dict[str, str] = field(default_factory=dict)
    flip_average: bool = False
    threshold: MatchThreshold | None = None

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"dim must be at least 1, got {self.dim}")
        if min(self.input_size) < 1:
            raise ValueError(f"input_size must be at least (1, 1), got {self.input_size}")
        if self.colour not in COLOURS:
            raise ValueError(f"colour must be one of {', '.join(COLOURS)}; got {self.colour!r}")
        if self.template not in TEMPLATES:
            raise ValueError(
                f"template must be one of {', '.join(TEMPLATES)}; got {self.template!r}; "
                "faces cut by another template would be judged on the wrong crop"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise ValueError(f"{name} must hold 3 finite numbers, got {values}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be greater than 0, got {self.std}")

    def to_metadata(self) -> dict[str, str]:
        """Return the contract as safetensors metadata: text to text, the same bytes each time."""
        content = {"kind": "model", "format": FORMAT, **asdict(self)}
        return {KEY: json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "ModelContract":
        """Read a contract back from safetensors metadata.

        Raises:
            ValueError: If it is absent, of a newer format, or lacks or breaks a field.
        """
        content = read_kind(metadata)
        if content.pop("kind") != "model":
            raise ValueError("the contract says it is not of a model file")
        version = content.pop("format", None)
        if version != FORMAT:
            raise ValueError(
                f"contract format must be {FORMAT}, got {version}; "
                "a newer marginface wrote it, so update this one"
            )
        names = {item.name for item in fields(cls)}
        if wrong := sorted(names ^ content.keys()):
            state = "lacks" if wrong[0] in names else "has the unknown field"
            raise ValueError(f"the contract {state} {wrong[0]!r}; the file was altered")
        return cls(**_typed(content))


def read_kind(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON value under this project's key; its "kind" tells models from checkpoints.

    Raises:
        ValueError: If there is none, or it is no JSON object with a kind.
    """
    if KEY not in metadata:
        raise ValueError(f"the metadata holds no contract under the key {KEY!r}")
    try:
        content = json.loads(metadata[KEY])
    except json.JSONDecodeError as cause:
        raise ValueError(f"the contract is not JSON ({cause}); the file was altered") from cause
    if not isinstance(content, dict) or "kind" not in content:
        raise ValueError("the contract is no JSON object with a 'kind'; the file was altered")
    return content


# What JSON may hold for each field that is not text; lists become the tuples they were.
_KINDS: dict[str, type | tuple[type, ...]] = {
    "dim": int,
    "input_size": list,
    "options": dict,
    "mean": list,
    "std": list,
    "loss_options": dict,
    "training_data": dict,
    "versions": dict,
    "flip_average": bool,
    "threshold": (dict, type(None)),
}


def _typed(content: dict[str, Any]) -> dict[str, Any]:
    for name, value in content.items():
        kind = _KINDS.get(name, str)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise _altered(name, value)
        if isinstance(value, list) and not all(type(item) in (int, float) for item in value):
            raise _altered(name, value)
    data, threshold = content["training_data"], content["threshold"]
    if [type(item) for item in content["input_size"]] != [int, int]:
        raise _altered("input_size", content["input_size"])
    for item in fields(TrainingData):
        if type(data.get(item.name)) is not item.type:
            raise _altered("training_data", data)
    try:
        return content | {
            "input_size": tuple(content["input_size"]),
            "mean": tuple(map(float, content["mean"])),
            "std": tuple(map(float, content["std"])),
            "training_data": TrainingData(**data),
            "threshold": None if threshold is None else MatchThreshold(**threshold),
        }
    except TypeError as cause:
        raise ValueError(f"the contract does not fit ({cause}); the file was altered") from cause


def _altered(name: str, value: object) -> ValueError:
    return ValueError(f"the contract has {value!r} for {name!r}; the file was altered")
