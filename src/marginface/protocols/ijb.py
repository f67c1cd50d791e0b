"""IJB-B and IJB-C from their usual meta files: 1:1 between templates, and 1:N in two galleries.

    ijbc_face_tid_mid.txt             1.jpg 1 69544            picture, template, medium: a face
    ijbc_template_pair_label.txt      1 11065 1                template, template, 1 mated or 0
    ijbc_name_5pts_score.txt          1.jpg x1 y1 ... y5 0.99  five points, detector's score
    ijbc_1N_gallery_G1.csv, _G2.csv   TEMPLATE_ID,SUBJECT_ID,...  IJB-B: _S1.csv, _S2.csv
    ijbc_1N_probe_mixed.csv           the same columns

Features have one row for each line of the first file. The pair list does not say who a template
shows; the galleries and probes do, and where they are absent templates joined by mated pairs count
as one person.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.errors import ProtocolFileError
from marginface.protocols.columns import read_text, read_whole_numbers, wrong_columns

GALLERIES = {"ijbb": ("S1", "S2"), "ijbc": ("G1", "G2")}

Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class IjbFaces:
    """The faces of a benchmark, in the order of its first file.

    Attributes:
        name: "ijbb" or "ijbc".
        pictures: Name of each face's picture.
        templates: Template of each face, shape (faces,).
        media: Medium of each face, shape (faces,).
        points: Five points of each face, shape (faces, 5, 2); None without the file.
        detector_scores: Shape (faces,); None without the file.
    """

    name: str
    pictures: list[str]
    templates: Codes
    media: Codes
    points: NDArray[np.float64] | None
    detector_scores: NDArray[np.float64] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class IjbPairs:
    """Template pairs of the 1:1 protocol, each of shape (pairs,)."""

    first: Codes
    second: Codes
    is_mated: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class IjbSearch:
    """Templates and their persons: two galleries, and the mixed probes."""

    galleries: dict[str, tuple[Codes, Codes]]
    probes: tuple[Codes, Codes]


def read_faces(root: str | Path, name: str) -> IjbFaces:
    """Read the faces; the file of points and scores is optional.

    Raises:
        ProtocolFileError: If a file does not parse, or the two list different pictures.
    """
    path = Path(root) / f"{name}_face_tid_mid.txt"
    words = _split_lines(path, 3, "picture template medium")
    try:
        numbers = np.array([line[1:] for line in words], dtype=np.int64)
    except ValueError:
        line = next(n for n, w in enumerate(words, 1) if not (w[1] + w[2]).isdecimal())
        raise ProtocolFileError(
            f"{path} line {line}: template and medium must be whole, got {words[line - 1]}"
        ) from None
    pictures = [line[0] for line in words]
    points, scores = _read_points(Path(root) / f"{name}_name_5pts_score.txt", pictures)
    return IjbFaces(
        name=name,
        pictures=pictures,
        templates=numbers[:, 0],
        media=numbers[:, 1],
        points=points,
        detector_scores=scores,
    )


def read_pairs(root: str | Path, name: str, faces: IjbFaces) -> IjbPairs:
    """Read the template pairs.

    Raises:
        ProtocolFileError: If the file does not parse, a label is neither 0 nor 1, a template has no
            face, or all pairs are of one kind.
    """
    path = Path(root) / f"{name}_template_pair_label.txt"
    columns = read_whole_numbers(path, ["template", "template", "label"])
    first, second, label = (np.ascontiguousarray(column) for column in columns.T)
    _refuse_first(path, (label != 0) & (label != 1), "label must be 0 or 1", label)
    known = np.zeros(int(max(first.max(), second.max(), faces.templates.max())) + 1, dtype=np.bool_)
    known[faces.templates] = True
    for column in (first, second):
        _refuse_first(path, column < 0, "template must be 0 or more", column)
        _refuse_first(path, ~known[column], "template must have a face in the list", column)
    for kind, wanted in (("mated", 1), ("non-mated", 0)):
        if not (label == wanted).any():
            raise ProtocolFileError(
                f"{path} must list both kinds of pairs, got no {kind} pair among {len(label):,}"
            )
    return IjbPairs(first=first, second=second, is_mated=label == 1)


def read_search(root: str | Path, name: str, faces: IjbFaces) -> IjbSearch | None:
    """Read galleries and probes; None if none of the three files is there.

    Raises:
        ProtocolFileError: If one is absent or does not parse, names a template without faces, or
            gives one template to two people.
    """
    parts = {key: f"{name}_1N_gallery_{key}.csv" for key in GALLERIES[name]}
    paths = {key: Path(root) / file for key, file in parts.items()}
    paths["probes"] = Path(root) / f"{name}_1N_probe_mixed.csv"
    if not any(path.exists() for path in paths.values()):
        return None
    read = {key: _template_people(path, faces) for key, path in paths.items()}
    return IjbSearch(galleries={key: read[key] for key in parts}, probes=read["probes"])


def people_of_templates(pairs: IjbPairs, search: IjbSearch | None, faces: IjbFaces) -> Codes:
    """Return a person code from 0 for each of the sorted template ids.

    Raises:
        ProtocolFileError: If a non-mated pair joins templates of one person.
    """
    ids = np.unique(faces.templates)
    rows = [np.searchsorted(ids, side) for side in (pairs.first, pairs.second)]
    joined = [side[pairs.is_mated] for side in rows]
    for templates, people in [*search.galleries.values(), search.probes] if search else []:
        # Each template is joined to the first of its person.
        order = np.argsort(people, kind="stable")
        first_of = np.unique(people[order], return_index=True, return_inverse=True)
        place = np.searchsorted(ids, templates[order])
        joined = [
            np.concatenate([joined[0], place]),
            np.concatenate([joined[1], place[first_of[1]][first_of[2]]]),
        ]
    codes = _components(ids.size, joined[0], joined[1])
    wrong = (codes[rows[0]] == codes[rows[1]]) & ~pairs.is_mated
    if wrong.any():
        pair = int(np.argmax(wrong))
        raise ProtocolFileError(
            f"{faces.name}: a non-mated pair must be of two people, got templates "
            f"{pairs.first[pair]} and {pairs.second[pair]}, which mated pairs or lists join "
            f"({int(wrong.sum()):,} such)"
        )
    return codes


def _components(count: int, first: Codes, second: Codes) -> Codes:
    """Return a code from 0 per node such that joined nodes share it."""
    codes = np.arange(count)
    while True:
        before = codes.copy()
        low = np.minimum(codes[first], codes[second])
        np.minimum.at(codes, first, low)
        np.minimum.at(codes, second, low)
        codes = codes[codes]
        if (codes == before).all():
            return np.unique(codes, return_inverse=True)[1]


def _split_lines(path: Path, columns: int, names: str) -> list[list[str]]:
    words = [text.split() for text in read_text(path).splitlines()]
    if not words:
        raise ProtocolFileError(f"{path} must hold lines of {names}, got none")
    for line, parts in enumerate(words, 1):
        if len(parts) != columns:
            raise wrong_columns(path, line, names.split(), parts)
    return words


def _read_points(
    path: Path, pictures: list[str]
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    if not path.exists():
        return None, None
    words = _split_lines(path, 12, "picture x1 y1 x2 y2 x3 y3 x4 y4 x5 y5 score")
    if len(words) != len(pictures):
        raise ProtocolFileError(
            f"{path} must hold one line for each of {len(pictures):,} faces, got {len(words):,}"
        )
    try:
        numbers = np.array([line[1:] for line in words], dtype=np.float64)
    except ValueError as cause:
        raise ProtocolFileError(f"{path}: points and scores must be numbers ({cause})") from cause
    _refuse_first(
        path, np.isfinite(numbers).sum(axis=1) < numbers.shape[1], "numbers must be finite", numbers
    )
    for line, (parts, picture) in enumerate(zip(words, pictures, strict=True), 1):
        if parts[0] != picture:
            raise ProtocolFileError(
                f"{path} line {line}: the picture must be {picture}, as in the list of faces, "
                f"got {parts[0]}"
            )
    return numbers[:, :10].reshape(-1, 5, 2), numbers[:, 10]


def _template_people(path: Path, faces: IjbFaces) -> tuple[Codes, Codes]:
    rows = [text.split(",") for text in read_text(path).splitlines()[1:] if text.strip()]
    if not rows:
        raise ProtocolFileError(f"{path} must hold rows below its header, got none")
    people: dict[int, int] = {}
    for line, row in enumerate(rows, 2):
        if len(row) < 2 or not (row[0].strip().isdecimal() and row[1].strip().isdecimal()):
            raise ProtocolFileError(
                f"{path} line {line}: TEMPLATE_ID and SUBJECT_ID must come first and be whole, "
                f"got {','.join(row)[:60]!r}"
            )
        # A template of several pictures stands there once for each of them.
        if people.setdefault(int(row[0]), int(row[1])) != int(row[1]):
            raise ProtocolFileError(
                f"{path} line {line}: template {row[0]} must be of one person, "
                f"got {people[int(row[0])]} and {row[1]}"
            )
    templates = np.array(sorted(people), dtype=np.int64)
    absent = np.setdiff1d(templates, faces.templates)
    if absent.size:
        raise ProtocolFileError(
            f"{path}: template {absent[0]} must have a face in the list of faces, got none "
            f"({absent.size:,} such)"
        )
    return templates, np.array([people[template] for template in templates.tolist()])


def _refuse_first(
    path: Path, is_wrong: NDArray[np.bool_], promise: str, values: NDArray[np.generic]
) -> None:
    if is_wrong.any():
        line = int(np.argmax(is_wrong))
        raise ProtocolFileError(f"{path} line {line + 1}: {promise}, got {values[line]}")
