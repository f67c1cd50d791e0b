"""What the commands of `marginface protocol` share: their options, and where features come from."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from marginface.protocols import load_features
from marginface.protocols.features import faces_in_folder, picture_features
from marginface.recognition import Recognizer

Features = Annotated[
    Path | None,
    Parameter(help="Ready features, .npy, one row a picture in the order of the list."),
]
Model = Annotated[
    str | None, Parameter(help="A model file or public name, to embed the pictures with.")
]
Images = Annotated[Path | None, Parameter(help="The folder of the pictures, with --model.")]
Aligned = Annotated[bool, Parameter(help="The pictures are aligned crops already.", negative="")]
Flip = Annotated[bool, Parameter(help="Add the mirrored face, as published figures do.")]
Resamples = Annotated[int, Parameter(help="Bootstrap resamples.")]
Seed = Annotated[int, Parameter(help="Seed of the bootstrap.")]
Fmr = Annotated[tuple[float, ...], Parameter(help="FMR targets, fractions.", negative="")]
Weighting = Literal["uniform", "norm", "detector", "norm+detector"]
Ready = NDArray[np.floating[Any]]


def features_of(
    pictures: list[str],
    features: Path | None,
    model: str | None,
    images: Path | None,
    *,
    is_aligned: bool = False,
    is_flip_summed: bool = True,
) -> tuple[Ready, list[tuple[str, str]]]:
    """Return ready features or a model's own, and (picture, reason) of those that failed."""
    if (features is None) == (model is None):
        raise ValueError("give either --features, or --model with --images")
    if features is not None:
        return load_features(features, len(pictures)), []
    if images is None or model is None:
        raise ValueError("--model needs --images, the folder of the pictures")
    recognizer = Recognizer.load(model)
    crops = faces_in_folder(images, pictures, recognizer, is_aligned=is_aligned)
    ready, failed = picture_features(recognizer, crops, is_flip_summed=is_flip_summed)
    return ready, [(pictures[row], why) for row, why in failed]
