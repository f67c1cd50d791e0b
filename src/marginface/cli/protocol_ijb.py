"""`marginface protocol ijbb` and `ijbc`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter

from marginface.cli.output import Json, show_or_write
from marginface.cli.protocol_options import (
    Features,
    Flip,
    Fmr,
    Model,
    Ready,
    Resamples,
    Seed,
    Weighting,
    features_of,
)
from marginface.cli.protocol_tables import pair_tables, search_tables
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
from marginface.protocols.features import faces_at_points, picture_features
from marginface.protocols.ijb import IjbFaces
from marginface.recognition import Recognizer


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class IjbOptions:
    """What both IJB commands take."""

    root: Annotated[Path, Parameter(help="The folder of the meta files.")]
    features: Features = None
    faces: Annotated[
        Path | None, Parameter(help="Detector scores, .npy, instead of those of the meta files.")
    ] = None
    model: Model = None
    images: Annotated[Path | None, Parameter(help="The folder loose_crop, with --model.")] = None
    flip: Flip = True
    weighting: Annotated[Weighting, Parameter(help="Of the faces of a template.")] = "norm+detector"
    exact: Annotated[
        bool, Parameter(help="Pool in float64, for every digit of the public code.", negative="")
    ] = False
    fmr: Fmr = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    resamples: Resamples = 1000
    seed: Seed = 0


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
    failures: list[tuple[str, str]] = []
    if options.model is None:
        ready, failures = features_of(faces.pictures, options.features, None, None)
    else:
        ready, failures = _embed_ijb(faces, options)
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
    parts = pair_tables(record)
    if search is not None:
        record["identification"] = identification_record(
            faces, search, templates, seed=options.seed, resamples=options.resamples
        )
        parts += search_tables(record["identification"])
    record |= {"weighting": options.weighting, "failures": failures}
    show_or_write(record, json, *parts)


def _embed_ijb(faces: IjbFaces, options: IjbOptions) -> tuple[Ready, list[tuple[str, str]]]:
    if faces.points is None or options.images is None:
        raise DataError(
            f"--model needs --images and {faces.name}_name_5pts_score.txt, which holds the points"
        )
    if options.model is None:
        raise ValueError("give --model")
    recognizer = Recognizer.load(options.model)
    crops = faces_at_points(options.images, faces.pictures, faces.points)
    ready, failed = picture_features(recognizer, crops, is_flip_summed=options.flip)
    return ready, [(faces.pictures[row], why) for row, why in failed]
