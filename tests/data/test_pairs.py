import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.data import (
    PairList,
    make_pairs,
    open_images,
    read_pairs,
    resolve_pairs,
    write_pairs,
)
from marginface.errors import ProtocolFileError

SMALL = "2\t1\nanna\t1\t4\nanna\t1\tberta\t2\ncarl 2 3\ncarl 1 dora 10\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "pairs.txt"
    path.write_text(text)
    return path


def test_reads_lfw_format(tmp_path: Path) -> None:
    pairs = read_pairs(written(tmp_path, SMALL))
    assert pairs.first == [("anna", 1), ("anna", 1), ("carl", 2), ("carl", 1)]
    assert pairs.second == [("anna", 4), ("berta", 2), ("carl", 3), ("dora", 10)]
    assert pairs.is_mated.tolist() == [True, False, True, False]
    assert pairs.fold.tolist() == [0, 0, 1, 1]
    assert pairs.lines == [2, 3, 4, 5]
    assert pairs.identities == ["anna", "berta", "carl", "dora"]
    assert len(pairs) == 4


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text(SMALL, encoding="utf-8-sig")
    assert len(read_pairs(tmp_path / "pairs.txt")) == 4


def test_header_of_one_number_and_names_with_spaces(tmp_path: Path) -> None:
    pairs = read_pairs(written(tmp_path, "1\nAnna Bell\t1\t2\nAnna Bell\t1\tCarl  D\t3\n\n"))
    assert pairs.first[0] == ("Anna Bell", 1)
    assert pairs.second[1] == ("Carl  D", 3)
    assert pairs.fold.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"pairs.txt line 1: the header must be 'folds pairs', as '10 300', got ''"),
        ("ten 300\n", "line 1: the header must be"),
        ("0 300\n", "line 1: the header must be"),
        ("1 1\na 1 2\n", "line 1: the header promises 1 x 2 x 1 = 2 pairs, got 1"),
        ("1 1\na 1 2\na 1 b 2\na 1 b 3\n", "= 2 pairs, got 3"),
        ("1 1\na 1 2\na 1 b\n", "line 3: picture numbers must be whole, got 'a 1 b'"),
        ("1 1\na 1 2\na 1 b 2 3\n", "line 3: a pair must have 3 or 4 columns"),
        ("1 1\na 1 2\na 1 b -2\n", "line 3: picture numbers must be whole"),
        ("1 1\na 1 2\na 1 a 2\n", "line 3: a nonmated pair must name two people"),
        ("1 1\na 2 2\na 1 b 2\n", "line 2: a pair must name two pictures"),
        ("1 1\na 1 2\na 1 3\n", "line 2: fold 1 must hold 1 mated pairs, got 2"),
    ],
)
def test_refuses(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ProtocolFileError, match=message):
        read_pairs(written(tmp_path, text))


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ProtocolFileError, match=r"absent.txt could not be read \(No such file"):
        read_pairs(tmp_path / "absent.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ProtocolFileError, match="not UTF-8 text"):
        read_pairs(tmp_path / "binary.txt")


def test_resolves_by_stem(tmp_path: Path) -> None:
    pairs = read_pairs(written(tmp_path, SMALL))
    names = ["anna/anna_0001.jpg", "anna/anna_0004.PNG", "berta/berta_0002.pgm"]
    names += ["carl/carl_0001.jpg", "carl/carl_0002.jpg", "dora/dora_0010.jpg"]
    first, second = resolve_pairs(pairs, names, left_out=["carl/carl_0003.jpg"])
    assert first.tolist() == [0, 0, 4, 3]
    assert second.tolist() == [1, 2, -1, 5]


def test_two_pictures_of_one_stem_are_refused_where_they_are_asked_for(tmp_path: Path) -> None:
    pairs = read_pairs(written(tmp_path, "1 1\na 1 2\na 1 b 1\n"))
    names = ["a/a_0001.jpg", "a/a_0002.jpg", "b/b_0001.jpg", "b/b_0001.png", "c/c_0001.jpg"]
    message = "line 3: image 'b/b_0001.*' must be one picture, got 'b/b_0001.jpg' and 'b/b_0001.pn"
    with pytest.raises(ProtocolFileError, match=re.escape(message)):
        resolve_pairs(pairs, names)
    unasked = [*names[:3], "c/c_0001.jpg", "c/c_0001.png"]
    assert resolve_pairs(pairs, unasked)[1].tolist() == [1, 2]


def test_missing_image_is_told_with_its_line(tmp_path: Path) -> None:
    pairs = read_pairs(written(tmp_path, SMALL))
    message = r"pairs.txt line 3: image 'berta/berta_0002.\*' not found under data/lfw"
    with pytest.raises(ProtocolFileError, match=message):
        resolve_pairs(pairs, ["anna/anna_0001.jpg", "anna/anna_0004.jpg"], where="data/lfw")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 100))
def test_written_pairs_read_the_same(folds: int, per_fold: int, seed: int) -> None:
    names = [f"p {i}/p {i}_{k:04d}.png" for i in range(12) for k in range(1, 5)]
    pairs = make_pairs(names, folds=folds, pairs_per_fold=per_fold, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.txt"
        write_pairs(pairs, path)
        again = read_pairs(path)
    assert again.first == pairs.first
    assert again.second == pairs.second
    np.testing.assert_array_equal(again.is_mated, pairs.is_mated)
    np.testing.assert_array_equal(again.fold, pairs.fold)


def test_uneven_folds_cannot_be_written(tmp_path: Path) -> None:
    pairs = PairList(
        first=[("a", 1)], second=[("a", 2)], is_mated=np.array([True]), fold=np.array([0])
    )
    with pytest.raises(ValueError, match="every fold must hold equally many pairs of each kind"):
        write_pairs(pairs, tmp_path / "pairs.txt")


@pytest.mark.faces
def test_the_real_list_resolves(faces: Path) -> None:
    pairs = read_pairs(faces / "splits" / "val_pairs.txt")
    assert len(pairs) == 4000
    assert int(pairs.is_mated.sum()) == 2000
    assert pairs.fold.max() == 9
    source = open_images(faces / "celeb")
    first, second = resolve_pairs(pairs, source.names)
    labels = source.labels
    np.testing.assert_array_equal(labels[first] == labels[second], pairs.is_mated)
