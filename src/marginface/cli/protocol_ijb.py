"""`marginface protocol ijbb` and `ijbc`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter

from marginface.cli.output import Json, show_or_write
from marginface.cli.protocol_options import Draws, Fmr, Source
from marginface.cli.protocol_tables import protocol_tables
from marginface.errors import DataError
from marginface.protocols import (
    fuse,
    identification_record,
    load_features,
    read_faces,
    read_pairs,
    read_search,
    verification_record,
)
from marginface.protocols.features import Face, faces_at_points
from marginface.protocols.ijb import IjbFaces
from marginface.recognition import Recognizer


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class IjbOptions(Draws, Source):
    """What both IJB commands take; --images is the folder loose_crop."""

    root: Annotated[Path, Parameter(help="The folder of the meta files.")]
    faces: Annotated[
        Path | None, Parameter(help="Detector scores, .npy, instead of those of the meta files.")
    ] = None
    weighting: Annotated[
        Literal["uniform", "norm", "detector", "norm+detector"],
        Parameter(help="Of the faces of a template."),
    ] = "norm+detector"
    exact: Annotated[
        bool, Parameter(help="Pool in float64, for every digit of the public code.", negative="")
    ] = False
    fmr: Fmr = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


def ijbb(options: IjbOptions, *, json: Json = None) -> None:
    """Judge IJB-B: 1:1 between templates, and 1:N in both galleries if their lists are there.

    **Examples**

        marginface protocol ijbb --root IJBB/meta --features features.npy
    """
    _ijb("ijbb", options, json)


def ijbc(options: IjbOptions, *, json: Json = None) -> None:
    """Judge IJB-C: 1:1 between templates, and 1:N in both galleries if their lists are there.

    **Examples**

        marginface protocol ijbc --root IJBC/meta --features features.npy --json ijbc.json

        marginface protocol ijbc --root IJBC/meta --model sface --images IJBC/loose_crop
    """
    _ijb("ijbc", options, json)


def _ijb(name: str, options: IjbOptions, json: Path | None) -> None:
    faces = read_faces(options.root, name)
    pairs_listed = read_pairs(options.root, name, faces)
    search = read_search(options.root, name, faces)
    if options.faces is not None:
        scores = load_features(options.faces, len(faces.pictures), is_column=True)
        faces = replace(faces, detector_scores=np.asarray(scores, dtype=np.float64))
    ready, failures = options.rows_by(faces.pictures, partial(_crops, faces, options))
    templates = fuse(faces, ready, weighting=options.weighting, exact=options.exact)
    record = verification_record(
        faces,
        pairs_listed,
        templates,
        search=search,
        fmr_targets=options.fmr,
        seed=options.seed,
        resamples=options.resamples,
    )
    if search is not None:
        record["identification"] = identification_record(
            faces, search, templates, seed=options.seed, resamples=options.resamples
        )
    record |= {"weighting": options.weighting, **options.origin(failures)}
    show_or_write(record, json, *protocol_tables(record))


def _crops(
    faces: IjbFaces, options: IjbOptions, recognizer: Recognizer
) -> list[Callable[[], Face]]:
    if options.aligned or options.images is None:
        return options.crops(faces.pictures, recognizer)
    if faces.points is None:
        raise DataError(
            f"--model needs {faces.name}_name_5pts_score.txt, which holds the points of faces that "
            "are not --aligned"
        )
    return faces_at_points(options.images, faces.pictures, faces.points)
