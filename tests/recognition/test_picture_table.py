from pathlib import Path

import numpy as np
import pytest

from marginface.data.pairs import PairList
from marginface.errors import ProtocolFileError
from marginface.recognition import pair_groups
from marginface.recognition.picture_table import read_column

PAIRS = PairList(
    first=[("anna", 1), ("j.r", 1), ("anna", 1), ("berta", 1)],
    second=[("anna", 2), ("j.r", 2), ("j.r", 1), ("anna", 2)],
    is_mated=np.array([True, True, False, False]),
    fold=np.zeros(4, np.int64),
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(
        "picture,pose,light,shots\n"
        "anna/anna_0001.jpg,10,indoor,1\n"
        "anna/anna_0002.PNG,-5.5,outdoor,2\n"
        "j.r/j.r_0001,30,indoor,10\n"
        'j.r/j.r_0002.jpeg,"20",,2\n'
        "\n"
        "nobody/nobody_0001.jpg,1e9,cellar,7\n",
        encoding="utf-8-sig",
    )
    return path


def test_a_column_of_words_holds_the_groups(table: Path) -> None:
    groups = pair_groups(PAIRS, table, "light")
    assert groups.first == ["indoor", "indoor", "indoor", ""]
    assert groups.second == ["outdoor", "", "indoor", "outdoor"]
    assert (groups.order, groups.bins, groups.column) == (["indoor", "outdoor"], 0, "light")


def test_a_column_of_numbers_is_cut_by_the_pictures_of_the_pairs(table: Path) -> None:
    groups = pair_groups(PAIRS, table, "pose", bins=2)
    # The picture nobody compares, at 1e9, takes no part in the cut.
    assert groups.order == ["-5.5 to 10", "20 to 30"]
    assert groups.first == ["-5.5 to 10", "20 to 30", "-5.5 to 10", ""]
    assert groups.second == ["-5.5 to 10", "20 to 30", "20 to 30", "-5.5 to 10"]
    assert groups.bins == 2


def test_few_numbers_and_no_bins_are_groups_in_their_order(table: Path) -> None:
    for bins in (0, 3):
        groups = pair_groups(PAIRS, table, "shots", bins=bins)
        assert groups.order == ["1", "2", "10"]
        assert groups.bins == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the header must hold the column 'picture', got nothing"),
        ("name,light\na,b\n", "line 1: the header must hold the column 'picture', got name, light"),
        ("picture,lihgt\na,b\n", "line 1: column must be one of lihgt; got 'light'; did you mean"),
        ("picture,light\na/a_0001.jpg\n", "line 2: a row must have 2 columns, got 1"),
        (
            "picture,light\na/a_0001.jpg,x\n\na/a_0001.png,y\n",
            "line 4: picture 'a/a_0001.png' stands twice",
        ),
        ('picture,light\na,"b\n', "could not be read"),
    ],
)
def test_what_does_not_parse(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ProtocolFileError, match=message):
        read_column(path, "light")


def test_what_does_not_fit(table: Path, tmp_path: Path) -> None:
    with pytest.raises(ProtocolFileError, match="No such file"):
        read_column(tmp_path / "absent.csv", "light")
    other = PairList(
        first=[("carla", 1)],
        second=[("carla", 2)],
        is_mated=np.array([True]),
        fold=np.zeros(1, np.int64),
    )
    with pytest.raises(ProtocolFileError, match=r"names are as carla/carla_0001\.jpg"):
        pair_groups(other, table, "light")
    with pytest.raises(ValueError, match="bins must be 0 or at least 2, got 1"):
        pair_groups(PAIRS, table, "pose", bins=1)
