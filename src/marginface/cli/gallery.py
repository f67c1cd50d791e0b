"""`marginface gallery`: who is enrolled, and forgetting them."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.box import SIMPLE_HEAD
from rich.table import Table

from marginface.cli.output import Json, show, show_or_write
from marginface.recognition import Gallery, Recognizer

File = Annotated[Path, Parameter(help="The gallery file.")]
gallery = App(name="gallery", help="List who is enrolled, or forget people.")


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
    show_or_write(record, json, table, f"{len(held):,} people, embeddings of {held.model}")


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
