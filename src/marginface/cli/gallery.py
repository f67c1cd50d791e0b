"""`marginface gallery`: who is enrolled, and forgetting them."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.box import SIMPLE_HEAD
from rich.table import Table

from marginface.cli.gallery_index import Place, codes_beside
from marginface.cli.output import Json, show, show_or_write
from marginface.errors import counted
from marginface.recognition import Gallery, Recognizer
from marginface.search import FaissIndex

File = Annotated[Path, Parameter(help="The gallery file.")]
gallery = App(name="gallery", help="List who is enrolled, forget people, or make an index.")


@gallery.command(name="list")
def list_people(gallery: File, *, json: Json = None) -> None:
    """List who is enrolled, and with how many pictures.

    **Examples**

        marginface gallery list staff.gallery
    """
    held = Gallery.load(gallery)
    people = {name: held.pictures_of(name) for name in held.names}
    table = plain_table("person", "pictures")
    for name, count in people.items():
        table.add_row(name, f"{count:,}")
    record = {"model": held.model, "dim": held.dim, "people": people}
    show_or_write(
        record, json, table, f"{counted(len(held), 'person', 'people')}, embeddings of {held.model}"
    )


@gallery.command(name="remove")
def remove(
    gallery: File,
    *names: Annotated[str, Parameter(help="The people to forget.")],
    place: Place | None = None,
) -> None:
    """Forget people: all they gave goes out of the file; copies of it are yours to find.

    A file of codes beside it is deleted. Name the Qdrant server to have them forgotten there too.

    **Examples**

        marginface gallery remove staff.gallery anna

        marginface gallery remove staff.gallery anna --index qdrant --url http://127.0.0.1:6333
    """
    if not names:
        raise ValueError("names must hold at least one person, got none")
    place = place or Place()
    place.check()
    held = Gallery.load(gallery)
    names = tuple(dict.fromkeys(names))
    for name in names:  # before anybody is removed anywhere
        held.pictures_of(name)
    if place.index == "qdrant" and (index := place.kept(gallery, held)) is not None:
        held.search_in(index)
    for name in names:
        held.remove(name)
    words = f"{gallery}: {', '.join(names)} removed; now {counted(len(held), 'person', 'people')}"
    # First: once they are out of the gallery, the same command could not be given again.
    has_codes = (codes := codes_beside(gallery)).exists()
    codes.unlink(missing_ok=True)
    held.save(gallery)
    if has_codes:
        words += f"\n{codes}: held them too, and was deleted; `marginface gallery index` makes it"
    show(words)


@gallery.command(name="index")
def make_index(gallery: File, *, place: Place | None = None) -> None:
    """Make the index of a gallery anew: codes beside its file, or the templates on a server.

    `identify` with the same --index searches in it, and refuses it once the gallery has changed.
    It identifies people as the gallery does. A server's collection is emptied first.

    **Examples**

        marginface gallery index staff.gallery --index faiss

        marginface gallery index staff.gallery --index qdrant --url http://127.0.0.1:6333
    """
    place = place or Place()
    held = Gallery.load(gallery)
    if place.index == "faiss":
        codes_beside(gallery).unlink(missing_ok=True)
    index = place.empty_or_kept(gallery, held.dim)
    if index is None:
        raise ValueError("index must be faiss or qdrant, got exact, which needs none")
    index.clear()
    held.search_in(index)
    where = f"collection of {place.url}"
    if isinstance(index, FaissIndex):
        where = str(codes_beside(gallery))
        index.save(where)
        if len(held) < index.smallest:
            where += f"; below {index.smallest:,} people it holds no codes, and the search is exact"
    show(f"{gallery}: {counted(len(held), 'person', 'people')} into {where}")


def open_gallery(path: Path, recognizer: Recognizer) -> Gallery:
    """Read a gallery of a recogniser's embeddings, and of no other's."""
    held = Gallery.load(path)
    held.check(recognizer)
    return held


def plain_table(*columns: str) -> Table:
    """Return an empty table without lines; scores and counts stand right."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        numeric = column in ("score", "pictures")
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    return table
