from pathlib import Path

import numpy as np
import pytest

from marginface.data import read_landmarks
from marginface.data.landmarks import COLUMNS
from marginface.errors import ProtocolFileError

HEADER = ",".join(COLUMNS)
ROW = "a/a_0001.jpg,1,2,3,4,5,6,7,8,9,10"


def written(folder: Path, text: str) -> Path:
    path = folder / "points.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    points = read_landmarks(written(tmp_path, f"{HEADER}\n{ROW}\n"))
    np.testing.assert_array_equal(points["a/a_0001.jpg"], np.arange(1, 11).reshape(5, 2))
    turned = ",".join(reversed([*COLUMNS, "score"]))
    row = ",".join(reversed(["b/b.png", *"0123456789", "0.9"]))
    points = read_landmarks(written(tmp_path, f"\ufeff{turned}\n{row}\n"))
    np.testing.assert_array_equal(points["b/b.png"], np.arange(10).reshape(5, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"points.csv line 1: landmarks need the columns file, eye1_x, .* got nothing"),
        (HEADER.replace("eye1_x", "eye1x") + "\n", "eye1_x missing, got .*; is 'eye1x' meant for"),
        (HEADER.replace("file,", "") + "\n", "; file missing, got eye1_x"),
        (f"{HEADER}\n{ROW}\nb,1,2,3\n", "line 3: 'b' needs ten numbers, got"),
        (f"{HEADER}\n{ROW.replace('6', 'six')}\n", "line 2: 'a/a_0001.jpg' needs ten numbers"),
        (f"{HEADER}\n{ROW.replace('6', 'nan')}\n", "line 2: 'a/a_0001.jpg' needs finite numbers"),
        (f"{HEADER}\n{ROW}\n{ROW}\n", "line 3: 'a/a_0001.jpg' stands a second time"),
    ],
)
def test_refuses(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ProtocolFileError, match=message):
        read_landmarks(written(tmp_path, text))


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ProtocolFileError, match=r"absent.csv could not be read \(No such file"):
        read_landmarks(tmp_path / "absent.csv")
    (tmp_path / "points.csv").write_bytes(b"\xff\xd8\xff\x80")
    with pytest.raises(ProtocolFileError, match="is not CSV text"):
        read_landmarks(tmp_path / "points.csv")
