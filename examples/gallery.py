"""Enrol a folder of people and ask who is in a picture. Needs `marginface[weights]`.

    python examples/gallery.py photos door.jpg [staff.gallery]

`photos` holds one folder a person. The gallery file has embeddings and no pictures; it identifies
people, so keep it as safe as a password.
"""

import sys
from pathlib import Path

from marginface import Recognizer
from marginface.errors import NoFaceError
from marginface.recognition import Gallery

ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}


def main(photos: str, asked: str, out: str | None = None) -> None:
    """Enrol, search, and say who is likeliest; keep the gallery where a path is given."""
    recognizer = Recognizer.load("sface")
    gallery = enrolled(recognizer, Path(photos))
    print(f"{len(gallery)} people enrolled")
    for candidate in gallery.search(recognizer.embed(asked), k=3):
        print(f"{candidate.name}: {candidate.score:.3f}")
    if out is not None:
        gallery.save(out)


def enrolled(recognizer: Recognizer, photos: Path) -> Gallery:
    """Return a gallery of everybody in the folder who has a picture with a face."""
    gallery = Gallery.of(recognizer)
    for folder in sorted(path for path in photos.iterdir() if path.is_dir()):
        for picture in sorted(folder.iterdir()):
            if picture.suffix.lower() not in ENDINGS:
                continue
            try:
                gallery.add(folder.name, recognizer.embed(picture))
            except NoFaceError as error:
                print(f"left out: {error}", file=sys.stderr)
    return gallery


if __name__ == "__main__":
    main(*sys.argv[1:])
