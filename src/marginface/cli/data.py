"""`marginface data …`: pack, split, pairs, world, sheet."""

from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from cyclopts import Parameter
from rich.console import RenderableType
from rich.table import Table

from marginface.cli.output import Json, show_or_write
from marginface.data import (
    generate_world,
    make_pairs,
    open_images,
    pack_folder,
    read_identity_list,
    split_identities,
    write_identity_list,
    write_pairs,
)
from marginface.errors import DataError
from marginface.files import write_atomically
from marginface.report import contact_sheet


def pack(
    source: Annotated[Path, Parameter(help="One folder a person: JPEG, PNG, WebP, PGM or BMP.")],
    out: Annotated[Path, Parameter(help="The pack to make.")],
    *,
    landmarks: Annotated[
        Path | None, Parameter(help="CSV with five points a picture, instead of detection.")
    ] = None,
    aligned: Annotated[
        bool, Parameter(help="The pictures are aligned crops already.", negative="")
    ] = False,
    size: Annotated[int, Parameter(help="Side of the crops in pixels.")] = 112,
    encoding: Annotated[
        Literal["raw", "jpeg", "png"],
        Parameter(help="raw reads fastest, jpeg is several times smaller."),
    ] = "raw",
    min_face_px: Annotated[float, Parameter(help="Smaller faces are left out.")] = 20.0,
    replace: Annotated[bool, Parameter(help="Replace a pack at OUT.", negative="")] = False,
    json: Json = None,
) -> None:
    """Find, align and pack the faces of a folder; say what was left out and why.

    Of several faces the largest central one is taken and noted. OUT holds left_out.csv and
    notes.csv. A landmark file has the columns file, eye1_x, eye1_y, eye2_x, … mouth2_y.

    **Examples**

        marginface data pack lfw lfw.pack

        marginface data pack photos photos.pack --encoding jpeg --min-face-px 40

        marginface data pack celeb celeb.pack --landmarks landmarks.csv
    """
    report = pack_folder(
        source,
        out,
        landmarks=landmarks,
        is_aligned=aligned,
        size=size,
        encoding=encoding,
        min_face_px=min_face_px,
        may_replace=replace,
    )
    record = {
        "pack": str(report.path),
        "images": report.images,
        "identities": report.identities,
        "left_out": report.reasons,
        "notes": len(report.notes),
        "fingerprint": report.fingerprint,
        "seconds": report.seconds,
    }
    parts: list[RenderableType] = [
        f"{report.path}: {report.images:,} faces of {report.identities:,} people "
        f"in {report.seconds:.0f} s"
    ]
    if report.left_out:
        table = Table("left out because", "pictures", "for example")
        examples = {reason: name for name, reason, _ in reversed(report.left_out)}
        for reason, count in report.reasons.items():
            table.add_row(reason, f"{count:,}", examples[reason])
        parts += [table, f"all of them: {report.path / 'left_out.csv'}"]
    if report.notes:
        remarks = f"{len(report.notes):,} remarks (several faces, say)"
        parts.append(f"{remarks}: {report.path / 'notes.csv'}")
    show_or_write(record, json, *parts)


def split(
    source: Annotated[Path, Parameter(help="A face set of any format, or an identity folder.")],
    out: Annotated[Path, Parameter(help="Folder for the two lists.")],
    *,
    val_fraction: Annotated[float, Parameter(help="Share of the people to judge on.")] = 0.2,
    val_count: Annotated[int | None, Parameter(help="Their number, instead.")] = None,
    seed: Annotated[int, Parameter(help="Another seed, another split.")] = 0,
    json: Json = None,
) -> None:
    """Part the people into train_identities.txt and val_identities.txt, nobody in both.

    **Examples**

        marginface data split faces.pack splits --val-fraction 0.25
    """
    train, val = split_identities(
        open_images(source).identities, val_fraction=val_fraction, val_count=val_count, seed=seed
    )
    record, parts = {}, []
    for name, people in (("train", train), ("val", val)):
        path = out / f"{name}_identities.txt"
        write_identity_list(people, path)
        record[name] = {"list": str(path), "identities": len(people)}
        parts.append(f"{path}: {len(people):,} people")
    show_or_write(record, json, *parts)


def pairs(
    source: Annotated[Path, Parameter(help="A face set of any format, or an identity folder.")],
    out: Annotated[Path, Parameter(help="The pair list to write, in LFW's format.")],
    *,
    identities: Annotated[Path | None, Parameter(help="Only these people, one a line.")] = None,
    folds: Annotated[int, Parameter(help="No person stands in two folds.")] = 10,
    pairs_per_fold: Annotated[int, Parameter(help="Of each kind.")] = 300,
    seed: Annotated[int, Parameter(help="Another seed, another list.")] = 0,
    json: Json = None,
) -> None:
    """Draw a list of mated and non-mated pairs for `marginface evaluate`.

    **Examples**

        marginface data pairs faces.pack pairs.txt --identities splits/val_identities.txt
    """
    names = open_images(source).names
    if identities is not None:
        wanted = set(read_identity_list(identities))
        names = [name for name in names if name.partition("/")[0] in wanted]
    drawn = make_pairs(names, folds=folds, pairs_per_fold=pairs_per_fold, seed=seed)
    write_pairs(drawn, out)
    record = {
        "list": str(out),
        "pairs": len(drawn),
        "mated": int(drawn.is_mated.sum()),
        "identities": len(drawn.identities),
    }
    told = f"{out}: {len(drawn):,} pairs of {len(drawn.identities):,} people"
    show_or_write(record, json, told)


def world(
    out: Annotated[Path, Parameter(help="The pack to make.")],
    *,
    identities: Annotated[int, Parameter(help="People.")] = 100,
    images: Annotated[int, Parameter(help="Pictures of each.")] = 20,
    size: Annotated[int, Parameter(help="Side in pixels.")] = 112,
    seed: Annotated[int, Parameter(help="Another seed, another world.")] = 0,
    first_identity: Annotated[int, Parameter(help="Number of the first person.")] = 0,
    json: Json = None,
) -> None:
    """Make a pack of procedural people, who do not exist, with the truth of every picture.

    **Examples**

        marginface data world world.pack --identities 200 --images 30 --size 64
    """
    pack = generate_world(
        out,
        identities=identities,
        images_per_identity=images,
        size=size,
        seed=seed,
        first_identity=first_identity,
    )
    record = {
        "pack": str(out),
        "images": len(pack),
        "identities": len(pack.identities),
        "fingerprint": pack.fingerprint,
    }
    told = f"{out}: {len(pack):,} pictures of {len(pack.identities):,} people"
    show_or_write(record, json, told)


def sheet(
    source: Annotated[Path, Parameter(help="A face set of any format, or an identity folder.")],
    out: Annotated[Path, Parameter(help="The picture to write, .png or .jpg.")],
    *,
    people: Annotated[int, Parameter(help="Rows.")] = 8,
    pictures: Annotated[int, Parameter(help="Pictures of each.")] = 8,
    side: Annotated[int, Parameter(help="Side of each picture in pixels.")] = 96,
    json: Json = None,
) -> None:
    """Draw a contact sheet: one person a row.

    **Examples**

        marginface data sheet world.pack people.png --people 10
    """
    images = open_images(source)
    rows = [
        index
        for person in range(min(people, len(images.identities)))
        for index in (images.labels == person).nonzero()[0][:pictures].tolist()
    ]
    shown = [
        np.asarray(cv2.resize(images.read([row])[0], (side, side)), dtype=np.uint8) for row in rows
    ]
    picture = contact_sheet(shown, columns=pictures)
    if out.suffix not in {".png", ".jpg"}:
        raise DataError(f"out must end in .png or .jpg, got {out}")
    encoded = cv2.imencode(out.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    write_atomically(out, encoded.tobytes())
    record = {
        "sheet": str(out),
        "pictures": len(rows),
        "people": min(people, len(images.identities)),
    }
    show_or_write(record, json, f"{out}: {len(rows)} pictures")
