"""`marginface embed`: the unit embedding of every picture, for programs that compare themselves."""

import csv
import io
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter

from marginface.cli.output import Json, say, show_or_write
from marginface.cli.verify import Engine, Model, Weights
from marginface.data.convert_formats import open_images
from marginface.errors import NoFaceError, counted
from marginface.files import atomic_path, write_atomically
from marginface.recognition import EmbeddedPictures, Recognizer, embed_source

COLUMNS = ("picture", "person", "norm", "failed")


def embed(
    model: Model,
    photos: Annotated[Path, Parameter(help="A folder with one folder per person, or a pack.")],
    out: Annotated[Path, Parameter(help="The array to write, .npy; a table .csv goes beside it.")],
    *,
    flip_average: Annotated[bool, Parameter(help="Add the mirrored face.")] = False,
    weights: Weights = None,
    engine: Engine = None,
    json: Json = None,
) -> None:
    """Write the embedding of every picture of a set.

    OUT holds float32 of shape (pictures, dim), rows of length 1; the cosine of two faces is their
    product. The table beside it has a line for each row: picture, person, the feature's length, and
    why it failed. A picture without a face is a row of zeros and stops nothing.

    **Examples**

        marginface embed sface photos faces.npy

        marginface embed runs/mine/model.safetensors unseen.pack faces.npy --flip-average
    """
    if out.suffix != ".npy":
        raise ValueError(f"out must end in .npy, got {out.name!r}")
    source = open_images(photos)
    recognizer = Recognizer.load(model, weights=weights, engine=engine)
    everything = np.arange(len(source.names))
    found = embed_source(recognizer, source, everything, flip_average=flip_average)
    if found.failed.all():
        of = counted(len(source.names), "picture", "pictures")
        raise NoFaceError(f"no face was found in any picture, of {of}")
    table = out.with_suffix(".csv")
    people = [source.identities[label] for label in source.labels]
    with atomic_path(out) as temporary, temporary.open("wb") as file:
        np.save(file, found.embeddings)
    write_atomically(table, _table(source.names, people, found))
    if len(found.failures):
        say(f"{counted(len(found.failures), 'picture', 'pictures')} failed; {table} says why")
    record = {
        "model": recognizer.name,
        "out": str(out),
        "table": str(table),
        "pictures": len(source.names),
        "dim": recognizer.contract.dim,
        "failed": len(found.failures),
        "flip_average": flip_average,
    }
    show_or_write(record, json, f"{out}: {len(source.names):,} x {recognizer.contract.dim} float32")


def _table(names: list[str], people: list[str], found: EmbeddedPictures) -> str:
    reasons = dict(found.failures)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, person, norm in zip(names, people, found.norms.tolist(), strict=True):
        writer.writerow((name, person, f"{norm:.6g}", reasons.get(name, "")))
    return text.getvalue()
