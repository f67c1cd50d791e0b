"""`marginface protocol …`: the benchmarks as they are published, from features or from pictures."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import App, Parameter
from numpy.typing import NDArray

from marginface.cli.output import Json, show_or_write
from marginface.cli.protocol_tables import pair_tables, search_tables
from marginface.data.bin_pack import read_bin
from marginface.errors import DataError
from marginface.protocols import (
    ListedPairs,
    cfp_lists,
    crossed_list,
    fuse,
    gallery_record,
    gallery_tables,
    identification_record,
    lfw_list,
    load_features,
    megaface_lists,
    megaface_record,
    pack_pairs,
    pair_record,
    pairs_table,
    read_faces,
    read_pairs,
    read_search,
    sllfw_list,
    tinyface_lists,
    verification_record,
)
from marginface.protocols.features import (
    faces_at_points,
    faces_in_folder,
    faces_in_pack,
    picture_features,
)
from marginface.protocols.ijb import IjbFaces
from marginface.recognition import Recognizer

protocol = App(
    name="protocol",
    help="Judge a model or ready features on a published benchmark, from its own files.",
)

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


@protocol.command
def pairs(
    kind: Annotated[
        Literal["lfw", "talfw", "sllfw", "calfw", "cplfw", "cfp-fp", "cfp-ff", "bin", "csv"],
        Parameter(help="The layout of LIST."),
    ],
    listed: Annotated[Path, Parameter(help="The list; of CFP its folder, of bin the pack.")],
    *,
    features: Features = None,
    model: Model = None,
    images: Images = None,
    aligned: Aligned = False,
    flip: Flip = True,
    fmr: Fmr = (0.001, 0.01, 0.1),
    resamples: Resamples = 1000,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Judge a list of pairs: exact accuracy and FNMR at FMR, and insightface's figures beside them.

    The second table has the digits that insightface's code would print for these features.

    **Examples**

        marginface protocol pairs bin agedb_30.bin --model sface

        marginface protocol pairs cfp-fp cfp-dataset --features cfp.npy --json cfp.json

        marginface protocol pairs csv pairs.csv --model run/model.safetensors --images photos
    """
    if kind == "bin" and model is not None and features is None:
        pack = read_bin(listed)
        chosen = pack_pairs(pack.is_mated, name=listed.stem)
        crops = faces_in_pack(pack.pictures)
        ready, failed = picture_features(Recognizer.load(model), crops, is_flip_summed=flip)
        failures = [(chosen.pictures[row], why) for row, why in failed]
    else:
        chosen = _read_list(kind, listed)
        ready, failures = _features(
            chosen.pictures, features, model, images, is_aligned=aligned, is_flip_summed=flip
        )
    record = pair_record(chosen, ready, fmr_targets=fmr, seed=seed, resamples=resamples)
    record |= {"features": str(features or model), "failures": failures}
    show_or_write(record, json, *pair_tables(record))


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


@protocol.command
def ijbb(options: IjbOptions, *, json: Json = None) -> None:
    """Judge IJB-B: 1:1 between templates, and 1:N in both galleries if their lists are there.

    **Examples**

        marginface protocol ijbb --root IJBB/meta --features features.npy
    """
    _ijb("ijbb", options, json)


@protocol.command
def ijbc(options: IjbOptions, *, json: Json = None) -> None:
    """Judge IJB-C: 1:1 between templates, and 1:N in both galleries if their lists are there.

    **Examples**

        marginface protocol ijbc --root IJBC/meta --features features.npy --json ijbc.json

        marginface protocol ijbc --root IJBC/meta --model sface --images IJBC/loose_crop
    """
    _ijb("ijbc", options, json)


@protocol.command
def gallery(
    gallery_list: Annotated[Path, Parameter(help="gallery.csv: picture,identity.")],
    probe_list: Annotated[Path, Parameter(help="probes.csv: picture,identity.")],
    *,
    features: Features = None,
    model: Model = None,
    images: Images = None,
    aligned: Aligned = False,
    flip: Flip = True,
    json: Json = None,
) -> None:
    """Search probes in a gallery of your own: CMC, and FNIR at FPIR if some are not enrolled.

    Features hold the gallery's rows first, then the probes'.

    **Examples**

        marginface protocol gallery gallery.csv probes.csv --model sface --images photos
    """
    lists = gallery_tables(gallery_list, probe_list)
    ready, failures = _features(
        lists.pictures, features, model, images, is_aligned=aligned, is_flip_summed=flip
    )
    record = gallery_record(lists, ready) | {"failures": failures}
    show_or_write(record, json, *search_tables(record))


@protocol.command
def tinyface(
    root: Annotated[Path, Parameter(help="The folder Testing_Set.")],
    *,
    features: Features = None,
    model: Model = None,
    images: Images = None,
    aligned: Aligned = False,
    flip: Flip = True,
    json: Json = None,
) -> None:
    """Judge TinyFace: every probe among its gallery and all distractors.

    Features hold gallery, probes and then distractors; those sorted by name.

    **Examples**

        marginface protocol tinyface tinyface/Testing_Set --features tinyface.npy
    """
    lists = tinyface_lists(root)
    ready, failures = _features(
        lists.pictures, features, model, images or root, is_aligned=aligned, is_flip_summed=flip
    )
    record = gallery_record(lists, ready) | {"failures": failures}
    show_or_write(record, json, *search_tables(record))


@protocol.command
def megaface(
    probe_list: Annotated[Path, Parameter(help="facescrub_features_list.json.")],
    distractor_list: Annotated[Path, Parameter(help="megaface_features_list.json_1000000_1.")],
    *,
    features: Annotated[Path, Parameter(help="Features, .npy: probes, then distractors.")],
    probe_noises: Annotated[Path | None, Parameter(help="facescrub_noises.txt.")] = None,
    distractor_noises: Annotated[Path | None, Parameter(help="megaface_noises.txt.")] = None,
    ranks: Annotated[tuple[int, ...], Parameter(help="Of the CMC.", negative="")] = (1, 10),
    products: Annotated[
        Literal["float32", "bfloat16", "int8"],
        Parameter(help="Arithmetic of the search; changes its speed only."),
    ] = "float32",
    json: Json = None,
) -> None:
    """Judge MegaFace: identification among more and more distractors, noises left out.

    Features have a row for every listed picture, noises included.

    **Examples**

        marginface protocol megaface facescrub.json megaface.json --features megaface.npy
    """
    everything, _ = megaface_lists(probe_list, distractor_list)
    lists, removed = megaface_lists(
        probe_list,
        distractor_list,
        probe_noises=probe_noises,
        distractor_noises=distractor_noises,
    )
    rows = load_features(features, len(everything.pictures))
    if any(removed.values()):
        kept = set(lists.pictures)
        rows = rows[[row for row, name in enumerate(everything.pictures) if name in kept]]
    record = megaface_record(lists, rows, ranks=ranks, products=products, removed=removed)
    show_or_write(record, json, *search_tables(record))


def _ijb(name: str, options: IjbOptions, json: Path | None) -> None:
    faces = read_faces(options.root, name)
    pairs_listed = read_pairs(options.root, name, faces)
    search = read_search(options.root, name, faces)
    if options.faces is not None:
        scores = load_features(options.faces, len(faces.pictures), is_column=True)
        faces = replace(faces, detector_scores=np.asarray(scores, dtype=np.float64))
    failures: list[tuple[str, str]] = []
    if options.model is None:
        ready, failures = _features(faces.pictures, options.features, None, None)
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


def _read_list(kind: str, listed: Path) -> ListedPairs:
    if kind in ("lfw", "talfw"):
        return lfw_list(listed, name=kind)
    if kind == "sllfw":
        return sllfw_list(listed)
    if kind in ("calfw", "cplfw"):
        return crossed_list(listed, name=kind)
    if kind == "csv":
        return pairs_table(listed)
    if kind == "bin":
        return pack_pairs(read_bin(listed).is_mated, name=listed.stem)
    return cfp_lists(listed, kind=kind.removeprefix("cfp-").upper())


def _features(
    pictures: list[str],
    features: Path | None,
    model: str | None,
    images: Path | None,
    *,
    is_aligned: bool = False,
    is_flip_summed: bool = True,
) -> tuple[Ready, list[tuple[str, str]]]:
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
