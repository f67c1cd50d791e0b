"""Given landmarks: a CSV with the five points of each picture, in pixels.

    file,eye1_x,eye1_y,eye2_x,eye2_y,nose_x,nose_y,mouth1_x,mouth1_y,mouth2_x,mouth2_y

Columns are found by name, in any order; others are passed over. eye1 and mouth1 are those on the
left in the picture. Coordinates count in the picture as shown, that is after its EXIF turn.
"""

import csv
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.errors import ProtocolFileError

POINTS = ("eye1", "eye2", "nose", "mouth1", "mouth2")
COLUMNS = ("file", *(f"{point}_{axis}" for point in POINTS for axis in "xy"))


def read_landmarks(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """Return the five points, shape (5, 2), of each picture in a landmark file.

    Raises:
        ProtocolFileError: If a column is missing, a number does not parse, or a picture stands
            twice; with file and line.
    """
    path = Path(path)
    try:
        text = path.open(encoding="utf-8-sig", newline="")
    except OSError as cause:
        raise ProtocolFileError(
            f"landmark file {path} could not be read ({cause.strerror or cause})"
        ) from cause
    with text:
        try:
            return _rows(path, csv.DictReader(text))
        except (csv.Error, UnicodeDecodeError) as cause:
            raise ProtocolFileError(f"landmark file {path} is not CSV text ({cause})") from cause


def _rows(path: Path, reader: "csv.DictReader[str]") -> dict[str, NDArray[np.float64]]:
    _check_columns(path, list(reader.fieldnames or []))
    points: dict[str, NDArray[np.float64]] = {}
    for row in reader:
        place = f"{path} line {reader.line_num}"
        name = row["file"]
        try:
            values = np.array([float(row[column]) for column in COLUMNS[1:]])
        except (TypeError, ValueError) as cause:
            wrong = {column: row[column] for column in COLUMNS[1:]}
            raise ProtocolFileError(
                f"{place}: {name!r} needs ten numbers, got {list(wrong.values())}"
            ) from cause
        if not np.isfinite(values).all():
            raise ProtocolFileError(
                f"{place}: {name!r} needs finite numbers, got {values.tolist()}"
            )
        if name in points:
            raise ProtocolFileError(f"{place}: {name!r} stands a second time")
        points[name] = values.reshape(5, 2)
    return points


def _check_columns(path: Path, columns: list[str]) -> None:
    missing = [column for column in COLUMNS if column not in columns]
    if not missing:
        return
    near = get_close_matches(missing[0], [c for c in columns if c not in COLUMNS], n=1)
    hint = f"; is {near[0]!r} meant for it?" if near else ""
    raise ProtocolFileError(
        f"{path} line 1: landmarks need the columns {', '.join(COLUMNS)}; "
        f"{', '.join(missing)} missing, got {', '.join(columns) or 'nothing'}{hint}"
    )
