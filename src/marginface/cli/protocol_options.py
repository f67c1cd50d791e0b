"""What the commands of `marginface protocol` share: where features come from, and the bootstrap."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from marginface.cli.verify import Engine
from marginface.protocols import load_features
from marginface.protocols.features import Face, faces_in_folder, picture_features
from marginface.recognition import Recognizer

Fmr = Annotated[tuple[float, ...], Parameter(help="FMR targets, fractions.", negative="")]
# Features, and (picture, reason) of those that failed.
Rows = tuple[NDArray[np.floating[Any]], list[tuple[str, str]]]
Crops = Callable[[Recognizer], list[Callable[[], Face]]]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Source:
    """Where features come from: a file, or a model and the pictures."""

    features: Annotated[
        Path | None,
        Parameter(help="Ready features, .npy, one row a picture in the order of the list."),
    ] = None
    model: Annotated[
        str | None, Parameter(help="A model file or public name, to embed the pictures with.")
    ] = None
    engine: Engine = None
    images: Annotated[Path | None, Parameter(help="The folder of the pictures, with --model.")] = (
        None
    )
    aligned: Annotated[
        bool, Parameter(help="The pictures are aligned crops already.", negative="")
    ] = False
    flip: Annotated[bool, Parameter(help="Add the mirrored face, as published figures do.")] = True

    def rows(self, pictures: list[str]) -> Rows:
        """Return ready features, or a model's own of pictures in the folder."""
        return self.rows_by(pictures, lambda recognizer: self.crops(pictures, recognizer))

    def rows_by(self, pictures: list[str], crops: Crops) -> Rows:
        """Return ready features, or a model's own of faces that `crops` knows to get."""
        if (self.features is None) == (self.model is None):
            raise ValueError("give either --features, or --model with --images")
        if self.engine is not None and self.model is None:
            raise ValueError(f"--engine goes with --model, got --engine {self.engine} without")
        if self.features is not None:
            return load_features(self.features, len(pictures)), []
        recognizer = Recognizer.load(str(self.model), engine=self.engine)
        faces = crops(recognizer)
        ready, failed = picture_features(recognizer, faces, is_flip_summed=self.flip)
        return ready, [(pictures[row], why) for row, why in failed]

    def crops(
        self, pictures: list[str], recognizer: Recognizer, images: Path | None = None
    ) -> list[Callable[[], Face]]:
        """Return a function per picture that gives its face, from --images or another folder."""
        folder = images or self.images
        if folder is None:
            raise ValueError("--model needs --images, the folder of the pictures")
        return faces_in_folder(folder, pictures, recognizer, is_aligned=self.aligned)

    def origin(self, failures: list[tuple[str, str]]) -> dict[str, Any]:
        """Return what a record says of its features, under the key by which reports name it."""
        date = datetime.now(UTC).date().isoformat()
        if self.model is not None:
            return {"model": self.model, "failures": failures, "date": date}
        return {"features": str(self.features), "failures": failures, "date": date}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Draws:
    """The bootstrap over identities."""

    resamples: Annotated[int, Parameter(help="Bootstrap resamples.")] = 1000
    seed: Annotated[int, Parameter(help="Seed of the bootstrap.")] = 0
