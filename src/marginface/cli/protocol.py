"""`marginface protocol …`: the benchmarks as they are published, from features or from pictures."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from marginface.cli.output import Json, show_or_write
from marginface.cli.protocol_ijb import ijbb, ijbc
from marginface.cli.protocol_options import Draws, Fmr, Rows, Source
from marginface.cli.protocol_tables import protocol_tables
from marginface.data.bin_pack import read_bin
from marginface.evaluation.settings import check_settings
from marginface.protocols import (
    ListedPairs,
    cfp_lists,
    crossed_list,
    gallery_record,
    gallery_tables,
    lfw_list,
    megaface_lists,
    megaface_record,
    pack_pairs,
    pair_record,
    pairs_table,
    sllfw_list,
    tinyface_lists,
)
from marginface.protocols.features import faces_in_pack
from marginface.protocols.galleries import ListedGallery

protocol = App(
    name="protocol",
    help="Judge a model or ready features on a published benchmark, from its own files.",
)
protocol.command(ijbb)
protocol.command(ijbc)


@protocol.command
def pairs(
    kind: Annotated[
        Literal["lfw", "talfw", "sllfw", "calfw", "cplfw", "cfp-fp", "cfp-ff", "bin", "csv"],
        Parameter(help="The layout of LIST."),
    ],
    listed: Annotated[Path, Parameter(help="The list; of CFP its folder, of bin the pack.")],
    *,
    source: Source | None = None,
    fmr: Fmr = (0.001, 0.01, 0.1),
    draws: Draws | None = None,
    json: Json = None,
) -> None:
    """Judge a list of pairs: exact accuracy and FNMR at FMR, and insightface's figures beside them.

    The second table has the digits that insightface's code would print for these features.

    **Examples**

        marginface protocol pairs bin agedb_30.bin --model sface

        marginface protocol pairs cfp-fp cfp-dataset --features cfp.npy --json cfp.json

        marginface protocol pairs csv pairs.csv --model run/model.safetensors --images photos
    """
    source, draws = source or Source(), draws or Draws()
    check_settings(fmr_targets=fmr, resamples=draws.resamples, seed=draws.seed)
    chosen, ready, failures = _pairs_and_rows(kind, listed, source)
    record = pair_record(chosen, ready, fmr_targets=fmr, seed=draws.seed, resamples=draws.resamples)
    record |= source.origin(failures)
    show_or_write(record, json, *protocol_tables(record))


@protocol.command
def gallery(
    gallery_list: Annotated[Path, Parameter(help="gallery.csv: picture,identity.")],
    probe_list: Annotated[Path, Parameter(help="probes.csv: picture,identity.")],
    *,
    source: Source | None = None,
    draws: Draws | None = None,
    json: Json = None,
) -> None:
    """Search probes in a gallery of your own: CMC, and FNIR at FPIR if some are not enrolled.

    Features hold the gallery's rows first, then the probes'.

    **Examples**

        marginface protocol gallery gallery.csv probes.csv --model sface --images photos
    """
    _search(gallery_tables(gallery_list, probe_list), source or Source(), draws or Draws(), json)


@protocol.command
def tinyface(
    root: Annotated[Path, Parameter(help="The folder Testing_Set.")],
    *,
    source: Source | None = None,
    draws: Draws | None = None,
    json: Json = None,
) -> None:
    """Judge TinyFace: every probe among its gallery and all distractors.

    Features hold gallery, probes and then distractors; those sorted by name.

    **Examples**

        marginface protocol tinyface tinyface/Testing_Set --features tinyface.npy
    """
    source = source or Source()
    here = replace(source, images=source.images or root)
    _search(tinyface_lists(root), here, draws or Draws(), json)


@protocol.command
def megaface(
    probe_list: Annotated[Path, Parameter(help="facescrub_features_list.json.")],
    distractor_list: Annotated[Path, Parameter(help="megaface_features_list.json_1000000_1.")],
    *,
    source: Source | None = None,
    distractor_images: Annotated[
        Path | None, Parameter(help="The folder of the distractors, if not --images.")
    ] = None,
    probe_noises: Annotated[Path | None, Parameter(help="facescrub_noises.txt.")] = None,
    distractor_noises: Annotated[Path | None, Parameter(help="megaface_noises.txt.")] = None,
    ranks: Annotated[tuple[int, ...], Parameter(help="Of the CMC.", negative="")] = (1, 10),
    products: Annotated[
        Literal["float32", "bfloat16", "int8"],
        Parameter(help="Arithmetic of the search; changes its speed only."),
    ] = "float32",
    fmr: Fmr = (1e-6,),
    draws: Draws | None = None,
    json: Json = None,
) -> None:
    """Judge MegaFace: identification among, and verification against distractors; without noises.

    Features have a row for every listed picture, probes before distractors, noises included.

    **Examples**

        marginface protocol megaface facescrub.json megaface.json --features megaface.npy

        marginface protocol megaface facescrub.json megaface.json --model sface --aligned --images f
    """
    source, draws = source or Source(), draws or Draws()
    everything, _ = megaface_lists(probe_list, distractor_list)
    lists, removed = megaface_lists(
        probe_list,
        distractor_list,
        probe_noises=probe_noises,
        distractor_noises=distractor_noises,
    )
    failures: list[tuple[str, str]] = []
    if source.features is None:
        rows, failures = source.rows_by(
            lists.pictures,
            lambda recognizer: [
                *source.crops(lists.probes, recognizer),
                *source.crops(lists.distractors, recognizer, distractor_images),
            ],
        )
    else:
        rows, _ = source.rows(everything.pictures)
        if any(removed.values()):
            kept = set(lists.pictures)
            rows = rows[[row for row, name in enumerate(everything.pictures) if name in kept]]
    record = megaface_record(
        lists,
        rows,
        ranks=ranks,
        products=products,
        fmr_targets=fmr,
        removed=removed,
        seed=draws.seed,
        resamples=draws.resamples,
    )
    record |= source.origin(failures)
    show_or_write(record, json, *protocol_tables(record))


def _search(lists: ListedGallery, source: Source, draws: Draws, json: Path | None) -> None:
    ready, failures = source.rows(lists.pictures)
    record = gallery_record(lists, ready, seed=draws.seed, resamples=draws.resamples)
    record |= source.origin(failures)
    show_or_write(record, json, *protocol_tables(record))


def _pairs_and_rows(kind: str, listed: Path, source: Source) -> tuple[ListedPairs, *Rows]:
    if kind != "bin":
        chosen = _read_list(kind, listed)
        return chosen, *source.rows(chosen.pictures)
    pack = read_bin(listed)
    chosen = pack_pairs(pack.is_mated, name=listed.stem)
    crops = faces_in_pack(pack.pictures)
    return chosen, *source.rows_by(chosen.pictures, lambda _: crops)


def _read_list(kind: str, listed: Path) -> ListedPairs:
    if kind in ("lfw", "talfw"):
        return lfw_list(listed, name=kind)
    if kind == "sllfw":
        return sllfw_list(listed)
    if kind in ("calfw", "cplfw"):
        return crossed_list(listed, name=kind)
    if kind == "csv":
        return pairs_table(listed)
    return cfp_lists(listed, kind=kind.removeprefix("cfp-").upper())
