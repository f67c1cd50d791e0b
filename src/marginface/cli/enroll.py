"""`marginface enroll`: people into a gallery, by their pictures."""

from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter

from marginface.cli.gallery import open_gallery
from marginface.cli.output import Json, say, show_or_write
from marginface.cli.verify import Engine, Model, Weights
from marginface.data.convert_formats import open_images
from marginface.errors import NoFaceError, counted
from marginface.recognition import Candidate, Gallery, MatchThreshold, Recognizer, embed_source
from marginface.recognition.people import check_name

# So many failed pictures are named; all are counted.
NAMED = 20


def enroll(
    model: Model,
    gallery: Annotated[Path, Parameter(help="The gallery file; made if absent.")],
    photos: Annotated[Path, Parameter(help="A folder with one folder per person, or a pack.")],
    *,
    weights: Weights = None,
    engine: Engine = None,
    json: Json = None,
) -> None:
    """Enrol people, or add pictures to those enrolled.

    Pictures without a face are left out and named. The same picture is not counted twice, so the
    command may be given again. Who looks like somebody else enrolled is named too.

    **Examples**

        marginface enroll sface staff.gallery photos
    """
    source = open_images(photos)
    for name in source.identities:  # before minutes of pictures
        check_name(name)
    recognizer = Recognizer.load(model, weights=weights, engine=engine)
    held = open_gallery(gallery, recognizer) if gallery.exists() else Gallery.of(recognizer)
    embedded = embed_source(recognizer, source, np.arange(len(source.names)))
    pictures = 0
    touched = []
    for label, name in enumerate(source.identities):
        rows = embedded.embeddings[(source.labels == label) & ~embedded.failed]
        if len(rows) and (new := held.add(name, rows)):
            pictures += new
            touched.append(name)
    for name, why in embedded.failures[:NAMED]:
        say(f"left out: {why if why.startswith(name) else f'{name}: {why}'}")
    if len(embedded.failures) == len(source.names):
        of = counted(len(source.names), "picture", "pictures")
        raise NoFaceError(f"no face was found in any picture, of {of}")
    _name_lookalikes(held, touched, recognizer.contract.threshold)
    held.save(gallery)
    record = {
        "model": recognizer.name,
        "gallery": str(gallery),
        "new_pictures": pictures,
        "touched": touched,
        "failed": [{"picture": name, "reason": why} for name, why in embedded.failures],
        "people": len(held),
    }
    show_or_write(
        record,
        json,
        f"{gallery}: {counted(pictures, 'new picture', 'new pictures')} of "
        f"{counted(len(touched), 'person', 'people')}, {len(embedded.failures):,} left out; "
        f"now {counted(len(held), 'person', 'people')}",
    )


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
