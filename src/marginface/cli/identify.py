"""`marginface identify`: who of a gallery is in a picture?"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from marginface.cli.gallery import File, open_gallery, plain_table
from marginface.cli.gallery_index import Place
from marginface.cli.output import Json, show_or_write
from marginface.cli.verify import Engine, Model, Threshold, Weights, fmr_words, without_threshold
from marginface.data.pictures import ENDINGS
from marginface.errors import DataError, MarginfaceError, NoFaceError, counted
from marginface.progress import track
from marginface.recognition import Gallery, MatchThreshold, Recognizer


def identify(
    model: Model,
    gallery: File,
    *pictures: Annotated[Path, Parameter(help="Pictures, or folders of pictures.")],
    k: Annotated[int, Parameter(help="How many people to show for a picture.")] = 1,
    threshold: Threshold = None,
    place: Place | None = None,
    weights: Weights = None,
    engine: Engine = None,
    json: Json = None,
) -> None:
    """Say who of the enrolled is in each picture: the largest central face is asked for.

    **Examples**

        marginface identify sface staff.gallery door.jpg

        marginface identify sface staff.gallery door/ --k 3 --json found.json

        marginface identify sface city.gallery door.jpg --index faiss
    """
    if threshold is not None and not -1 <= threshold <= 1:
        raise ValueError(f"threshold must be a cosine in [-1, 1], got {threshold}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    paths = _pictures(pictures)
    recognizer = Recognizer.load(model, weights=weights, engine=engine)
    held = open_gallery(gallery, recognizer)
    place = place or Place()
    if (index := place.kept(gallery, held)) is not None:
        held.search_in(index)
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
        "index": place.index,
        "threshold": None if fixed is None else asdict(fixed),
        "pictures": rows,
    }
    show_or_write(record, json, _table(rows), _caution(fixed, len(held)))


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


def _table(rows: list[dict[str, Any]]) -> Table:
    table = plain_table("picture", "score", "person", "answer")
    for row in rows:
        if "failed" in row:
            why = row["failed"].replace(row["picture"], "the picture")
            table.add_row(row["picture"], "", "", why)
            continue
        if not row["candidates"]:
            table.add_row(row["picture"], "", "", "nobody is enrolled")
        for rank, each in enumerate(row["candidates"]):
            answer = {True: "match", False: "no match", None: ""}[each["is_match"]]
            table.add_row(
                row["picture"] if rank == 0 else "", f"{each['score']:.4f}", each["name"], answer
            )
    return table


def _caution(fixed: MatchThreshold | None, people: int) -> str:
    if fixed is None:
        return f"no answers: {without_threshold()}"
    words = f"threshold {fixed.value:.4f}: {fixed.fixed_on}, {fmr_words(fixed.fmr)}"
    if fixed.fmr is None:
        return f"{words}; with {counted(people, 'person', 'people')} false matches add up"
    highest = min(1.0, people * fixed.fmr)
    return (
        f"{words}; among {counted(people, 'person', 'people')} a stranger matches somebody with "
        f"a probability of up to {100 * highest:.3g} %"
    )
