"""Pair lists in the layouts they are published in, and what is said of broken ones."""

import numpy as np
import pytest

from marginface.errors import ProtocolFileError
from marginface.protocols import (
    cfp_lists,
    crossed_list,
    lfw_list,
    pack_pairs,
    pairs_table,
    sllfw_list,
)


def shown(listed):
    """(first picture, second picture, is_mated) of every pair."""
    sides = ([listed.pictures[row] for row in side] for side in (listed.first, listed.second))
    return list(zip(*sides, listed.is_mated.tolist(), strict=True))


def written(tmp_path, text, name="list.txt"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_lfw(tmp_path):
    text = "2\t1\nanna\t1\t4\nanna\t1\tberta\t2\nberta\t1\t2\nanna\t4\tberta\t1\n"
    listed = lfw_list(written(tmp_path, text))
    assert shown(listed)[:2] == [
        ("anna/anna_0001", "anna/anna_0004", True),
        ("anna/anna_0001", "berta/berta_0002", False),
    ]
    assert listed.folds.tolist() == [0, 0, 1, 1]
    assert listed.pictures[:2] == ["anna/anna_0001", "berta/berta_0001"]
    assert listed.people == ["anna", "berta", "anna", "berta"]


def test_sllfw(tmp_path):
    text = "A_B/A_B_0001.jpg\nA_B/A_B_0002.jpg\nA_B/A_B_0001.jpg\nC/C_0001.jpg\n"
    listed = sllfw_list(written(tmp_path, text))
    assert shown(listed) == [
        ("A_B/A_B_0001.jpg", "A_B/A_B_0002.jpg", True),
        ("A_B/A_B_0001.jpg", "C/C_0001.jpg", False),
    ]
    assert listed.people == ["A_B", "A_B", "C"]
    assert listed.folds is None


def test_calfw_and_cplfw(tmp_path):
    text = "A_0001.jpg 3\nA_0002.jpg 3\nA_0001.jpg 0\nB_0001.jpg 0\n"
    listed = crossed_list(written(tmp_path, text), name="cplfw")
    assert shown(listed) == [
        ("A_0001.jpg", "A_0002.jpg", True),
        ("A_0001.jpg", "B_0001.jpg", False),
    ]
    assert listed.people is None
    with pytest.raises(ProtocolFileError, match=r"line 2: both lines .* got 1 and 0"):
        crossed_list(written(tmp_path, "A.jpg 1\nB.jpg 0\n"), name="calfw")


@pytest.fixture
def cfp(tmp_path):
    for kind, folder in (("F", "frontal"), ("P", "profile")):
        lines = [f"{n} ../Data/Images/{(n + 1) // 2:03d}/{folder}/0{n}.jpg" for n in range(1, 5)]
        written(tmp_path, "\n".join(lines) + "\n", f"Protocol/Pair_list_{kind}.txt")
    for fold in ("01", "02"):
        for kind in ("FF", "FP"):
            # In FF a frontal picture is not compared with itself.
            same, diff = ("1,2\n3,4\n", "1,3\n2,4\n") if kind == "FF" else ("1,1\n3,4\n", "1,3\n")
            written(tmp_path, same, f"Protocol/Split/{kind}/{fold}/same.txt")
            written(tmp_path, diff, f"Protocol/Split/{kind}/{fold}/diff.txt")
    return tmp_path


def test_cfp(cfp):
    listed = cfp_lists(cfp)
    assert shown(listed)[:3] == [
        ("Data/Images/001/frontal/01.jpg", "Data/Images/001/profile/01.jpg", True),
        ("Data/Images/002/frontal/03.jpg", "Data/Images/002/profile/04.jpg", True),
        ("Data/Images/001/frontal/01.jpg", "Data/Images/002/profile/03.jpg", False),
    ]
    assert listed.folds.tolist() == [0, 0, 0, 1, 1, 1]
    assert listed.repeated == 3  # both folds hold the same pairs
    assert set(listed.people) == {"001", "002"}
    frontal = cfp_lists(cfp, kind="FF")
    assert all("frontal" in picture for picture in frontal.pictures)
    assert len(frontal) == 8


def test_cfp_names_what_is_wrong(cfp):
    (cfp / "Protocol/Split/FP/02/diff.txt").write_text("1,9\n")
    with pytest.raises(ProtocolFileError, match=r"diff.txt line 1: picture 9 is not in the list"):
        cfp_lists(cfp)
    (cfp / "Protocol/Split/FP/02/diff.txt").write_text("1,2,3\n")
    with pytest.raises(ProtocolFileError, match="line 1: a line must hold 2 columns"):
        cfp_lists(cfp)
    (cfp / "Protocol/Split/FP/02/diff.txt").write_text("1,1\n")
    with pytest.raises(ProtocolFileError, match="pair 5 must be mated where both pictures"):
        cfp_lists(cfp)
    with pytest.raises(ProtocolFileError, match=r"must hold folders 01, 02"):
        cfp_lists(cfp, kind="PP")


def test_pairs_table(tmp_path):
    text = (
        "picture_a,picture_b,is_mated,fold,identity_a,identity_b\n"
        "a1.jpg,a2.jpg,1,x,anna,anna\na1.jpg,b1.jpg,false,y,anna,berta\n"
    )
    listed = pairs_table(written(tmp_path, text, "mine.csv"))
    assert shown(listed) == [("a1.jpg", "a2.jpg", True), ("a1.jpg", "b1.jpg", False)]
    assert (listed.name, listed.folds.tolist()) == ("mine", [0, 1])
    assert listed.people == ["anna", "anna", "berta"]


HEAD = "picture_a,picture_b,is_mated\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture_a,picture_b\na,b\n", "line 1: the header must hold .* missing is is_mated"),
        ("picture_a,picture_b,is_mated,age\na,b,1,3\n", "line 1: .* got 'age' besides"),
        (HEAD, "must hold rows below its header"),
        (HEAD + "a,b\n", "line 2: a line must hold 3 columns"),
        (HEAD + "a,b,1,0\n", "line 2: a line must hold 3 columns"),
        (HEAD + "a,b,maybe\n", "line 2: is_mated must be 1 or 0, got 'maybe'"),
        (HEAD + "a,b,1\nc,d,1\n", "got no non-mated pair among 2"),
        (HEAD + "a,b,0\nc,d,0\n", "got no mated pair among 2"),
        (HEAD + "a,b,1\nc,d,0\nb,a,1\n", "line 4: a pair must stand once, got b and a"),
        (HEAD + "a,b,1\nc,c,0\n", "line 3: a pair must name two pictures, got c and c"),
    ],
)
def test_broken_tables(tmp_path, text, message):
    with pytest.raises(ProtocolFileError, match=message):
        pairs_table(written(tmp_path, text, "mine.csv"))


def test_blank_lines_end_a_table_and_do_not_stand_in_it(tmp_path):
    text = "picture_a,picture_b,is_mated\na,b,1\n{}a,c,0\n"
    listed = pairs_table(written(tmp_path, text.format("") + "\n  \n"))
    assert len(listed) == 2
    with pytest.raises(ProtocolFileError, match="line 3: a line must hold 3 columns"):
        pairs_table(written(tmp_path, text.format("\n")))


def test_a_picture_of_two_people(tmp_path):
    text = (
        "picture_a,picture_b,is_mated,identity_a,identity_b\na,b,1,anna,anna\na,c,0,berta,carla\n"
    )
    with pytest.raises(ProtocolFileError, match="line 3: a was said to show anna, got berta"):
        pairs_table(written(tmp_path, text, "mine.csv"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A/A_1.jpg\nA/A_2.jpg\nB/B_1.jpg\n", "must hold two lines a pair, got 3 lines"),
        ("A_1.jpg\nA_2.jpg\n", "line 1: a picture must be name/name_0001.jpg"),
        ("", "must hold two lines a pair, got 0 lines"),
    ],
)
def test_broken_sllfw(tmp_path, text, message):
    with pytest.raises(ProtocolFileError, match=message):
        sllfw_list(written(tmp_path, text))


def test_absent_and_binary_files(tmp_path):
    with pytest.raises(ProtocolFileError, match="could not be read"):
        sllfw_list(tmp_path / "absent")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProtocolFileError, match="not UTF-8 text"):
        sllfw_list(tmp_path / "binary")


def test_packs():
    listed = pack_pairs(np.array([True, False]), name="agedb_30")
    assert (listed.first.tolist(), listed.second.tolist()) == ([0, 2], [1, 3])
    with pytest.raises(ProtocolFileError, match="agedb_30 must list both kinds"):
        pack_pairs(np.array([True, True]), name="agedb_30")
