"""`marginface gallery`: enrol people, search among them, forget them."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import App, Parameter
from rich.box import SIMPLE_HEAD
from rich.table import Table

from marginface.cli.output import Json, say, show, show_or_write
from marginface.cli.verify import Model, Threshold, Weights, fmr_words, without_threshold
from marginface.data.convert_formats import open_images
from marginface.data.pictures import ENDINGS
from marginface.errors import DataError, MarginfaceError, NoFaceError
from marginface.progress import track
from marginface.recognition import Candidate, Gallery, MatchThreshold, Recognizer, embed_source

File = Annotated[Path, Parameter(help="The gallery file.")]
gallery = App(name="gallery", help="Enrol people, search among them, forget them.")
# So many failed pictures are named; all are counted.
NAMED = 20


@gallery.command(name="add")
def add(
    model: Model,
    gallery: Annotated[Path, Parameter(help="The gallery file; made if absent.")],
    photos: Annotated[Path, Parameter(help="A folder with one folder per person, or a pack.")],
    *,
    weights: Weights = None,
) -> None:
    """Enrol people, or add pictures to those enrolled.

    Pictures without a face are left out and named. The same picture is not counted twice, so the
    command may be given again. Who looks like somebody else enrolled is named too.

    **Examples**

        marginface gallery add sface staff.gallery photos
    """
    source = open_images(photos)
    recognizer = Recognizer.load(model, weights=weights)
    held = _opened(gallery, recognizer) if gallery.exists() else Gallery.of(recognizer)
    embedded = embed_source(recognizer, source, np.arange(len(source.names)))
    pictures = 0
    touched = []
    for label, name in enumerate(source.identities):
        rows = embedded.embeddings[(source.labels == label) & ~embedded.failed]
        if len(rows) and (new := held.add(name, rows)):
            pictures += new
            touched.append(name)
    for name, why in embedded.failures[:NAMED]:
        say(f"left out: {name}: {why}")
    if len(embedded.failures) == len(source.names):
        raise NoFaceError(f"no face was found in any of the {len(source.names):,} pictures")
    _name_lookalikes(held, touched, recognizer.contract.threshold)
    held.save(gallery)
    show(
        f"{gallery}: {pictures:,} new pictures of {len(touched):,} people, "
        f"{len(embedded.failures):,} left out; now {len(held):,} people"
    )


@gallery.command(name="search")
def search(
    model: Model,
    gallery: File,
    *pictures: Annotated[Path, Parameter(help="Pictures, or folders of pictures.")],
    k: Annotated[int, Parameter(help="How many people to show for a picture.")] = 1,
    threshold: Threshold = None,
    weights: Weights = None,
    json: Json = None,
) -> None:
    """Say who of the enrolled is in each picture: the largest central face is asked for.

    **Examples**

        marginface gallery search sface staff.gallery door.jpg

        marginface gallery search sface staff.gallery door/ --k 3 --json found.json
    """
    if threshold is not None and not -1 <= threshold <= 1:
        raise ValueError(f"threshold must be a cosine in [-1, 1], got {threshold}")
    paths = _pictures(pictures)
    recognizer = Recognizer.load(model, weights=weights)
    held = _opened(gallery, recognizer)
    fixed = recognizer.contract.threshold
    if threshold is not None:
        fixed = MatchThreshold(value=threshold, fmr=None, fixed_on="given by the caller")
    rows = [_row(recognizer, held, path, k, fixed) for path in track(paths, "searching")]
    if all("failed" in row for row in rows):
        raise NoFaceError(f"no picture could be searched with; the first: {rows[0]['failed']}")
    record = {
        "model": recognizer.name,
        "gallery": str(gallery),
        "people": len(held),
        "threshold": None if fixed is None else asdict(fixed),
        "pictures": rows,
    }
    show_or_write(record, json, _table(rows), _caution(fixed, len(held)))


@gallery.command(name="remove")
def remove(gallery: File, *names: Annotated[str, Parameter(help="The people to forget.")]) -> None:
    """Forget people: all they gave goes out of the file; copies of it are yours to find.

    **Examples**

        marginface gallery remove staff.gallery anna
    """
    if not names:
        raise ValueError("names must hold at least one person, got none")
    held = Gallery.load(gallery)
    for name in names:
        held.remove(name)
    held.save(gallery)
    show(f"{gallery}: {', '.join(names)} removed; now {len(held):,} people")


@gallery.command(name="list")
def list_people(gallery: File, *, json: Json = None) -> None:
    """List who is enrolled, and with how many pictures.

    **Examples**

        marginface gallery list staff.gallery
    """
    held = Gallery.load(gallery)
    people = {name: held.pictures_of(name) for name in held.names}
    table = _plain_table("person", "pictures")
    for name, count in people.items():
        table.add_row(name, f"{count:,}")
    record = {"model": held.model, "dim": held.dim, "people": people}
    show_or_write(record, json, table, f"{len(held):,} people, embeddings of {held.model}")


def _opened(path: Path, recognizer: Recognizer) -> Gallery:
    held = Gallery.load(path)
    held.check(recognizer)
    return held


def _pictures(given: tuple[Path, ...]) -> list[Path]:
    if not given:
        raise ValueError("pictures must hold at least one picture or folder, got none")
    found: list[Path] = []
    for path in given:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in ENDINGS)
        if not inside:
            raise DataError(f"{path} must hold pictures ({', '.join(sorted(ENDINGS))}), got none")
        found += inside
    return found


def _row(
    recognizer: Recognizer, held: Gallery, path: Path, k: int, fixed: MatchThreshold | None
) -> dict[str, Any]:
    try:
        embedding = recognizer.embed(path)
    except MarginfaceError as cause:
        return {"picture": str(path), "failed": str(cause)}
    candidates = [
        {**asdict(each), "is_match": None if fixed is None else each.score >= fixed.value}
        for each in held.search(embedding, k=k)
    ]
    return {"picture": str(path), "candidates": candidates}


def _name_lookalikes(held: Gallery, names: list[str], fixed: MatchThreshold | None) -> None:
    """Say who of those just enrolled would match somebody else, who may be the same person."""
    if fixed is None or not names:
        return
    probes = np.stack([held.template_of(name) for name in names])
    pairs: dict[frozenset[str], Candidate] = {}
    for name, found in zip(names, held.search_many(probes, k=2), strict=True):
        for other in found:
            if other.name != name and other.score >= fixed.value:
                pairs[frozenset((name, other.name))] = other
    for pair, other in sorted(pairs.items(), key=lambda each: -each[1].score)[:NAMED]:
        first, second = sorted(pair)
        say(f"look alike: {first} and {second} (score {other.score:.3f}); one person twice?")


def _table(rows: list[dict[str, Any]]) -> Table:
    table = _plain_table("picture", "score", "person", "answer")
    for row in rows:
        if "failed" in row:
            why = row["failed"].replace(row["picture"], "the picture")
            table.add_row(row["picture"], "", "", why)
            continue
        for rank, each in enumerate(row["candidates"]):
            answer = {True: "match", False: "no match", None: ""}[each["is_match"]]
            table.add_row(
                row["picture"] if rank == 0 else "", f"{each['score']:.4f}", each["name"], answer
            )
    return table


def _plain_table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        numeric = column in ("score", "pictures")
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    return table


def _caution(fixed: MatchThreshold | None, people: int) -> str:
    if fixed is None:
        return f"no answers: {without_threshold()}"
    words = f"threshold {fixed.value:.4f}: {fixed.fixed_on}, {fmr_words(fixed.fmr)}"
    if fixed.fmr is None:
        return f"{words}; with {people:,} people false matches add up"
    highest = min(1.0, people * fixed.fmr)
    return (
        f"{words}; among {people:,} people a stranger matches somebody with a probability of up to "
        f"{100 * highest:.3g} %"
    )
