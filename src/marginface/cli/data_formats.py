"""`marginface data convert` and `marginface data inspect`: sets of any format."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.table import Table

from marginface.cli.output import Json, show_or_write
from marginface.data import EncodedFaces, convert_faces, manifest_of, open_encoded
from marginface.data.duplicates import signatures
from marginface.data.inspect_set import Inspection, SharedPictures, inspect_faces, shared_pictures
from marginface.data.resized import resize_face
from marginface.errors import DataError
from marginface.files import write_atomically
from marginface.recognition import Recognizer
from marginface.recognition.inspection import (
    Mislabel,
    People,
    Twins,
    TwinsFound,
    embed_people,
    find_twins,
    likely_mislabels,
)
from marginface.report import contact_sheet

Kind = Literal["folder", "pack", "rec", "bin", "webdataset", "parquet"]

# Rows of a table in the terminal, and of the contact sheet; --json has all.
SHOWN = 10
SHEET_ROWS = 24
SHEET_SIDE = 112


def convert(
    source: Annotated[Path, Parameter(help="A folder, pack, .rec, .bin, .tar shards or Parquet.")],
    out: Annotated[
        Path, Parameter(help="What to make: .rec, .bin, .tar, .parquet, .pack; else a folder.")
    ],
    *,
    to: Annotated[Kind | None, Parameter(help="The format, if OUT does not say it.")] = None,
    source_format: Annotated[
        Kind | None, Parameter(name="--from", help="That of SOURCE, if its look misleads.")
    ] = None,
    encoding: Annotated[
        Literal["keep", "jpeg", "png", "raw"],
        Parameter(help="keep leaves stored pictures untouched; raw goes with a pack."),
    ] = "keep",
    pairs: Annotated[
        Path | None, Parameter(help="For a .bin: the pairs to store, in LFW's format.")
    ] = None,
    shard: Annotated[int, Parameter(help="Pictures a shard, and between two savings.")] = 10_000,
    replace: Annotated[bool, Parameter(help="Replace what is at OUT.", negative="")] = False,
    json: Json = None,
) -> None:
    """Convert a set of faces into another format, without decoding where that goes.

    The same command goes on where it was stopped or killed. What was written is read back and
    compared by checksum before it appears; OUT.manifest.json keeps the checksum.

    **Examples**

        marginface data convert faces_emore/train.rec ms1m.parquet

        marginface data convert people people.rec

        marginface data convert people.pack shards --to webdataset --shard 5000

        marginface data convert lfw lfw.bin --pairs pairs.txt
    """
    try:
        report = convert_faces(
            source,
            out,
            source_kind=source_format,
            kind=to,
            encoding=encoding,
            pairs=pairs,
            chunk=shard,
            may_replace=replace,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on where it was") from None
    record = asdict(report) | {"manifest": str(manifest_of(out))}
    rate = report.images / max(report.seconds, 1e-9)
    told = [
        f"{report.path}: {report.images:,} pictures of {report.identities:,} people "
        f"in {report.seconds:.1f} s ({rate:,.0f}/s), {report.kept:,} untouched",
        f"checksum {report.checksum}, read back and found the same",
    ]
    if report.resumed_at:
        told.append(f"taken up at picture {report.resumed_at:,} of a run that was stopped")
    show_or_write(record, json, *told)


def inspect(
    source: Annotated[Path, Parameter(help="A set of any format.")],
    *,
    model: Annotated[
        str | None, Parameter(help="A model that looks for wrong labels: a file, or sface.")
    ] = None,
    weights: Annotated[Path | None, Parameter(help="The file behind a public name.")] = None,
    aligned: Annotated[
        bool | None,
        Parameter(help="The pictures are aligned crops, or not; by default as the format says."),
    ] = None,
    against: Annotated[
        Path | None, Parameter(help="An evaluation set that must not overlap with SOURCE.")
    ] = None,
    sheet: Annotated[
        Path | None, Parameter(help="Draw the suspicious pictures here, .png or .jpg.")
    ] = None,
    json: Json = None,
) -> None:
    """Count a set, find broken and repeated pictures, likely wrong labels, and overlap.

    Repeated pictures are found exactly and by eye-like likeness. With a model, so are pictures
    nearer to another person than to their own, people who stand in two folders, and people who
    stand in both sets.

    **Examples**

        marginface data inspect faces_emore/train.rec

        marginface data inspect people --model sface --sheet suspicious.png

        marginface data inspect train.pack --against lfw.bin --model runs/a/model.safetensors
    """
    if sheet is not None and sheet.suffix not in {".png", ".jpg"}:
        raise DataError(f"sheet must end in .png or .jpg, got {sheet}")
    faces = open_encoded(source)
    other = None if against is None else open_encoded(against)
    recognizer = None if model is None else Recognizer.load(model, weights=weights)
    report, found = inspect_faces(faces)
    record: dict[str, Any] = {"set": asdict(report)}
    parts = _told(report)
    pairs = _pairs_of(report)
    if other is not None:
        shared = shared_pictures(faces, found, other, signatures(other))
        record["shared_pictures"] = asdict(shared)
        parts += _shared_told(shared, str(against))
    if recognizer is not None:
        people = embed_people(recognizer, faces, is_aligned=aligned)
        mislabels, twins = likely_mislabels(people), find_twins(people)
        record |= {"model": recognizer.name, "no_face": people.failures}
        record |= {"mislabels": [asdict(each) for each in mislabels]}
        record |= {"twins": [asdict(each) for each in twins.best], "twins_found": twins.total}
        parts += [*_mislabels_told(mislabels), *_twins_told(twins, "twins: one person in two?")]
        pairs += _suspicious(people, mislabels, twins.best)
        if other is not None:
            there = embed_people(recognizer, other, is_aligned=aligned)
            overlap = find_twins(people, there)
            record |= {"overlap": [asdict(each) for each in overlap.best]}
            record |= {"overlap_found": overlap.total}
            parts += _twins_told(overlap, f"people who also stand in {against}?")
    if sheet is not None:
        parts.append(_draw(faces, pairs, sheet))
        record["sheet"] = str(sheet) if pairs else None
    show_or_write(record, json, *parts)


def _told(report: Inspection) -> list[RenderableType]:
    each = report.per_identity
    parts: list[RenderableType] = [
        f"{report.path} ({report.kind}): {report.images:,} pictures of {report.identities:,} "
        f"people, {report.stored_bytes / 2**20:,.1f} MiB",
        f"pictures of a person: {each['fewest']:,} to {each['most']:,}, median "
        f"{each['median']:g}, mean {each['mean']:.1f}",
    ]
    table = Table("pictures of a person", "people", "")
    most = max(count for *_, count in report.histogram)
    for begin, end, count in report.histogram:
        span = f"{begin}" if begin == end else f"{begin} to {end}" if end else f"{begin} or more"
        table.add_row(span, f"{count:,}", "█" * max(1, round(30 * count / most)))
    sizes = ", ".join(f"{h} x {w} ({count:,})" for h, w, count in report.sizes[:SHOWN])
    parts += [table, f"sizes (height x width): {sizes or 'none'}"]
    if len(report.sizes) > SHOWN:
        parts.append(f"and {len(report.sizes) - SHOWN:,} other sizes")
    parts += _listed("does not decode", ("picture", "why"), report.unreadable)
    parts += _listed("left out", ("file", "why", "where"), report.left_out)
    exact = [(", ".join(group),) for group in report.exact]
    parts += _listed(
        f"same pixels, {report.exact_across:,} with several people", ("pictures",), exact
    )
    parts += _listed(
        f"alike to the eye, {report.near_across:,} of two people", ("one", "other"), report.near
    )
    if not report.is_near_complete:
        parts.append("too many pictures look alike to compare all; some likeness may be missed")
    said = {True: "the same as when it was converted", False: "NOT that of its manifest"}
    verdict = "" if report.is_as_converted is None else f", {said[report.is_as_converted]}"
    parts.append(f"checksum {report.checksum}{verdict}")
    if report.is_as_packed is not None:
        packed = {True: "that of pack.json", False: "NOT that of pack.json: it was altered"}
        parts.append(f"fingerprint {packed[report.is_as_packed]}")
    return parts


def _shared_told(shared: SharedPictures, against: str) -> list[RenderableType]:
    columns = ("picture", f"in {against}")
    return [
        *_listed(f"same pixels as in {against}", columns, shared.exact),
        *_listed(f"alike to the eye with {against}", columns, shared.near),
    ]


def _mislabels_told(mislabels: list[Mislabel]) -> list[RenderableType]:
    rows = [(each.name, each.nearest, f"{each.own:.3f}", f"{each.other:.3f}") for each in mislabels]
    columns = ("picture", "nearer to", "own cosine", "other's")
    return _listed("likely wrong labels", columns, rows)


def _twins_told(twins: TwinsFound, title: str) -> list[RenderableType]:
    rows = [
        (each.first, each.second, f"{each.score:.3f}", f"{each.own:.3f}") for each in twins.best
    ]
    parts = _listed(title, ("one", "other", "cosine", "within each"), rows)
    if twins.total > len(rows):
        parts.append(f"the likeliest of {twins.total:,}: to this model many people are one")
    return parts


def _listed(
    title: str, columns: tuple[str, ...], rows: list[Any] | list[tuple[str, ...]]
) -> list[RenderableType]:
    if not rows:
        return [f"{title}: none"]
    table = Table(*columns)
    for row in rows[:SHOWN]:
        table.add_row(*row)
    more = [f"and {len(rows) - SHOWN:,} more; --json has all"] if len(rows) > SHOWN else []
    return [f"{title}: {len(rows):,}", table, *more]


def _pairs_of(report: Inspection) -> list[tuple[str, str, str]]:
    """Return label and two names for each row of the sheet."""
    exact = [("same pixels", group[0], group[1]) for group in report.exact]
    return [*exact, *(("alike", one, two) for one, two in report.near)]


def _suspicious(
    people: People, mislabels: list[Mislabel], twins: list[Twins]
) -> list[tuple[str, str, str]]:
    """Show a mislabel beside the person it is nearer to, and one picture of each twin."""
    rows = np.unique(people.labels, return_index=True)[1].tolist()
    example = {people.identities[people.labels[row]]: people.names[row] for row in rows}
    wrong = [("label?", each.name, example[each.nearest]) for each in mislabels]
    return [*wrong, *(("twins?", example[each.first], example[each.second]) for each in twins)]


def _draw(faces: EncodedFaces, pairs: list[tuple[str, str, str]], out: Path) -> str:
    if not pairs:
        return f"{out}: nothing suspicious to draw"
    # Every kind comes to its turn, so that many duplicates do not hide the wrong labels.
    kinds = {kind: [pair for pair in pairs if pair[0] == kind] for kind, *_ in pairs}
    share = max(1, SHEET_ROWS // len(kinds))
    chosen = [pair for of_kind in kinds.values() for pair in of_kind[:share]]
    rows = {name: row for row, name in enumerate(faces.names)}

    def shown(name: str) -> NDArray[np.uint8]:
        return resize_face(faces.read([rows[name]])[0], (SHEET_SIDE, SHEET_SIDE))

    images = [shown(name) for _, *names in chosen for name in names]
    labels = [
        f"{kind} {name.rpartition('/')[2]}".encode("ascii", "replace").decode()
        for kind, *names in chosen
        for name in names
    ]
    picture = contact_sheet(images, columns=2 * (1 + len(chosen) // 8), labels=labels)
    encoded = cv2.imencode(out.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    write_atomically(out, encoded.tobytes())
    return f"{out}: {len(chosen):,} of {len(pairs):,} suspicious pairs"
