"""Galleries, probes and distractors in the layouts they are published in.

gallery.csv, probes.csv   picture,identity
TinyFace    Testing_Set/{Gallery_Match,Gallery_Distractor,Probe}/ and two .mat lists,
            gallery_match_img_ID_pairs.mat and probe_img_ID_pairs.mat
MegaFace    lists of the development kit, {"path": [...], "id": [...]}: probes (FaceScrub), and
            distractors per size; noise lists, one picture a line, # for remarks
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marginface.errors import ProtocolFileError
from marginface.protocols.columns import read_lines, read_table, read_text
from marginface.protocols.mat_file import read_mat

ENDINGS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, kw_only=True, eq=False)
class ListedGallery:
    """Pictures to be found, and those to be found among; features follow `pictures`.

    Attributes:
        name: What the protocol is called.
        gallery: Enrolled pictures.
        gallery_people: The person on each.
        probes: Pictures that are searched.
        probe_people: The person on each.
        distractors: Further gallery pictures of nobody who is searched.
    """

    name: str
    gallery: list[str]
    gallery_people: list[str]
    probes: list[str]
    probe_people: list[str]
    distractors: list[str]

    @property
    def pictures(self) -> list[str]:
        """Gallery, probes and distractors, one after the other: the rows of the features."""
        return [*self.gallery, *self.probes, *self.distractors]


@dataclass(frozen=True, kw_only=True, eq=False)
class MegaFaceLists:
    """Probes with their persons, and distractors; features follow `pictures`."""

    probes: list[str]
    people: list[str]
    distractors: list[str]

    @property
    def pictures(self) -> list[str]:
        """Probes, then distractors: the rows of the features."""
        return [*self.probes, *self.distractors]


def gallery_tables(gallery: str | Path, probes: str | Path) -> ListedGallery:
    """Read gallery.csv and probes.csv; a probe of nobody enrolled makes the search an open one.

    Raises:
        ProtocolFileError: If a file does not parse, or a picture stands in one of them twice.
    """
    tables = [read_table(path, ["picture", "identity"]) for path in (gallery, probes)]
    for path, table in zip((gallery, probes), tables, strict=True):
        seen: dict[str, int] = {}
        for line, picture in enumerate(table["picture"], 2):
            if seen.setdefault(picture, line) != line:
                raise ProtocolFileError(
                    f"{path} line {line}: a picture must stand once, got {picture} again "
                    f"(first in line {seen[picture]})"
                )
    return ListedGallery(
        name=Path(gallery).stem,
        gallery=tables[0]["picture"],
        gallery_people=tables[0]["identity"],
        probes=tables[1]["picture"],
        probe_people=tables[1]["identity"],
        distractors=[],
    )


def tinyface_lists(root: str | Path) -> ListedGallery:
    """Read TinyFace's test set; distractors are the files of their folder, sorted by name.

    Args:
        root: The folder Testing_Set.

    Raises:
        ProtocolFileError: If a list or folder is absent or does not parse.
    """
    root = Path(root)
    gallery, gallery_people = _mat_pairs(root, "gallery_match_img_ID_pairs.mat", "gallery")
    probes, probe_people = _mat_pairs(root, "probe_img_ID_pairs.mat", "probe")
    folder = root / "Gallery_Distractor"
    files = sorted(p.name for p in folder.glob("*") if p.suffix.lower() in ENDINGS)
    if not files:
        raise ProtocolFileError(f"{folder} must hold the distractors, got no picture")
    enrolled = set(gallery_people)
    if absent := next((p for p in probe_people if p not in enrolled), None):
        raise ProtocolFileError(
            f"{root / 'probe_img_ID_pairs.mat'}: every probe's person must be in the gallery, "
            f"got {absent}"
        )
    return ListedGallery(
        name="tinyface",
        gallery=[f"Gallery_Match/{name}" for name in gallery],
        gallery_people=gallery_people,
        probes=[f"Probe/{name}" for name in probes],
        probe_people=probe_people,
        distractors=[f"Gallery_Distractor/{name}" for name in files],
    )


def megaface_lists(
    probes: str | Path,
    distractors: str | Path,
    *,
    probe_noises: str | Path | None = None,
    distractor_noises: str | Path | None = None,
) -> tuple[MegaFaceLists, dict[str, int]]:
    """Read the development kit's lists and leave out what the refined noise lists name.

    Args:
        probes: facescrub_features_list.json.
        distractors: megaface_features_list.json_1000000_1, say.
        probe_noises: facescrub_noises.txt: file names.
        distractor_noises: megaface_noises.txt: the last three parts of a path, maybe after a tab.

    Returns:
        The lists, and how many noises were taken out of each.

    Raises:
        ProtocolFileError: If a file does not parse, or no person has two probes.
    """
    faces, people = _feature_list(probes)
    others, _ = _feature_list(distractors, needs_people=False)
    gone = _noises(probe_noises, 1)
    kept = [row for row, face in enumerate(faces) if _tail(face, 1) not in gone]
    far = _noises(distractor_noises, 3)
    kept_others = [other for other in others if _tail(other, 3) not in far]
    lists = MegaFaceLists(
        probes=[faces[row] for row in kept],
        people=[people[row] for row in kept],
        distractors=kept_others,
    )
    counts = np.unique(lists.people, return_counts=True)[1] if kept else np.zeros(0)
    if not (counts > 1).any():
        raise ProtocolFileError(
            f"{probes} must hold two pictures or more of a person, got none of any"
        )
    removed = {"probes": len(faces) - len(kept), "distractors": len(others) - len(kept_others)}
    return lists, removed


def _mat_pairs(root: Path, file: str, key: str) -> tuple[list[str], list[str]]:
    path = root / file
    arrays = read_mat(path)
    names, numbers = arrays.get(f"{key}_set"), arrays.get(f"{key}_ids")
    if not isinstance(names, list) or not isinstance(numbers, np.ndarray):
        raise ProtocolFileError(
            f"{path} must hold {key}_set and {key}_ids, got {', '.join(arrays) or 'nothing'}"
        )
    if len(names) != len(numbers) or not names:
        raise ProtocolFileError(
            f"{path} must hold one id for each picture, got {len(names):,} and {len(numbers):,}"
        )
    return [str(name) for name in names], [str(int(number)) for number in numbers]


def _feature_list(path: str | Path, *, needs_people: bool = True) -> tuple[list[str], list[str]]:
    try:
        lists = json.loads(read_text(path))
    except json.JSONDecodeError as cause:
        raise ProtocolFileError(
            f"{path} line {cause.lineno}: must be JSON ({cause.msg})"
        ) from cause
    form = '{"path": [...], "id": [...]}'
    if not isinstance(lists, dict) or not isinstance(lists.get("path"), list) or not lists["path"]:
        raise ProtocolFileError(f"{path} must hold {form}, got no list of paths")
    paths = [str(entry) for entry in lists["path"]]
    people = [str(entry) for entry in lists.get("id", [])]
    if needs_people and len(people) != len(paths):
        raise ProtocolFileError(
            f"{path} must hold one id for each path, got {len(people):,} and {len(paths):,}"
        )
    if len(set(paths)) != len(paths):
        raise ProtocolFileError(f"{path} must name every picture once, got one again")
    return paths, people


def _noises(path: str | Path | None, parts: int) -> set[str]:
    if path is None:
        return set()
    lines: Sequence[tuple[int, str]] = read_lines(path)
    names = [text.split("\t")[-1] for _, text in lines if not text.startswith("#")]
    return {_tail(name, parts) for name in names}


def _tail(path: str, parts: int) -> str:
    return "/".join(path.replace("\\", "/").split("/")[-parts:])
