"""One file per paper: the equation, its source, its departures.

A new loss is one file and one row of `LOSSES`; tests, head, commands and benchmarks read the table.
"""

import inspect
from dataclasses import dataclass

from marginface.errors import unknown_name
from marginface.losses.adaface import AdaFace
from marginface.losses.arcface import ArcFace
from marginface.losses.base import Batch, Loss, OwnClass, SoftmaxLoss
from marginface.losses.cosface import CosFace
from marginface.losses.curricularface import CurricularFace
from marginface.losses.elasticface import (
    Elastic,
    ElasticFaceArc,
    ElasticFaceArcPlus,
    ElasticFaceCos,
    ElasticFaceCosPlus,
)
from marginface.losses.lh2face import LH2Face
from marginface.losses.magface import MagFace
from marginface.losses.sface import SFace
from marginface.losses.softmax import Softmax
from marginface.losses.sphereface import SphereFace

LOSSES: dict[str, type[Loss]] = {
    "softmax": Softmax,
    "sphereface": SphereFace,
    "cosface": CosFace,
    "arcface": ArcFace,
    "curricularface": CurricularFace,
    "magface": MagFace,
    "adaface": AdaFace,
    "sface": SFace,
    "elasticface-arc": ElasticFaceArc,
    "elasticface-cos": ElasticFaceCos,
    "elasticface-arc-plus": ElasticFaceArcPlus,
    "elasticface-cos-plus": ElasticFaceCosPlus,
    "lh2face": LH2Face,
}

Default = float | str | bool | tuple[float, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LossFacts:
    """What to tell a user about a loss; `defaults` are read from its constructor."""

    paper: str
    arxiv: str
    formula: str
    defaults: dict[str, Default]


def facts_of(kind: type[Loss]) -> LossFacts:
    """Return what a loss says of itself, one of the table or one's own."""
    options = inspect.signature(kind).parameters.items()
    return LossFacts(
        paper=kind.paper,
        arxiv=kind.arxiv,
        formula=kind.formula,
        defaults={name: option.default for name, option in options},
    )


LOSS_FACTS: dict[str, LossFacts] = {name: facts_of(kind) for name, kind in LOSSES.items()}


def make_loss(name: str, **options: object) -> Loss:
    """Build a loss by its name in `LOSSES`.

    Args:
        name: A key of `LOSSES`.
        options: The constructor's keywords; the rest take the published defaults.

    Raises:
        ValueError: If the name or an option is unknown (the nearest is named) or out of range.

    Example:
        >>> make_loss("elasticface-arc", std_rad=0.0175).std_rad
        0.0175
    """
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    kind = LOSSES[name]
    known = inspect.signature(kind).parameters
    for option in options:
        if option not in known:
            raise unknown_name(f"option of loss {name!r}", option, known)
    return kind(**options)


__all__ = [
    "LOSSES",
    "LOSS_FACTS",
    "AdaFace",
    "ArcFace",
    "Batch",
    "CosFace",
    "CurricularFace",
    "Elastic",
    "ElasticFaceArc",
    "ElasticFaceArcPlus",
    "ElasticFaceCos",
    "ElasticFaceCosPlus",
    "LH2Face",
    "Loss",
    "LossFacts",
    "MagFace",
    "OwnClass",
    "SFace",
    "Softmax",
    "SoftmaxLoss",
    "SphereFace",
    "facts_of",
    "make_loss",
]
