"""Verification packs: all protocols, byte-exact writing, and pickles that would do harm."""

import builtins
import os
import pickle
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginface.data import write_pairs
from marginface.data.bin_pack import pictures_of_pairs, read_bin, write_bin
from marginface.data.bin_pickle import load_harmless
from marginface.errors import DataError
from tests.data.records import jpeg

PICTURES = [jpeg(seed) for seed in range(8)]
ANSWERS = [True, False, False, True]
PROTOCOLS = range(6)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", [bytes, "array"])
@pytest.mark.parametrize("answer", [bool, int, np.bool_])
def test_every_protocol(
    tmp_path: Path, protocol: int, kind: Any, answer: Callable[[bool], Any]
) -> None:
    pictures = PICTURES if kind is bytes else [np.frombuffer(p, np.uint8).copy() for p in PICTURES]
    content = pickle.dumps((pictures, [answer(one) for one in ANSWERS]), protocol=protocol)
    (tmp_path / "a.bin").write_bytes(content)
    pack = read_bin(tmp_path / "a.bin")
    assert [bytes(picture) for picture in pack.pictures] == PICTURES
    assert pack.is_mated.tolist() == ANSWERS
    assert pack.protocol == protocol * (protocol > 1)
    assert [*zip(pack.first.tolist(), pack.second.tolist(), strict=True)][1] == (2, 3)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_python_3_wrote_is_written_again_byte_for_byte(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps((PICTURES, ANSWERS), protocol=protocol)
    (tmp_path / "a.bin").write_bytes(content)
    pack = read_bin(tmp_path / "a.bin")
    write_bin(tmp_path / "b.bin", pack.pictures, pack.is_mated, protocol=pack.protocol)
    assert (tmp_path / "b.bin").read_bytes() == content


@pytest.mark.parametrize("form", ["short", "long", "text"])
def test_what_python_2_wrote_is_read(tmp_path: Path, form: str) -> None:
    def text(content: bytes) -> bytes:
        if form == "short" and len(content) < 256:
            return b"U" + bytes([len(content)]) + content
        if form == "text":
            return b"S" + repr(content)[1:].encode() + b"\n"
        return b"T" + struct.pack("<i", len(content)) + content

    pictures = [b"\xff\xd8'\\\n\0" + bytes(range(256)), b'"\x80']
    start = b"" if form == "text" else b"\x80\x02"
    lists = b"](" + b"".join(map(text, pictures)) + b"e" + b"](" + b"I01\n" + b"e"
    (tmp_path / "a.bin").write_bytes(start + lists + b"\x86.")
    pack = read_bin(tmp_path / "a.bin")
    assert pack.pictures == pictures
    assert pack.is_mated.tolist() == [True]


class Harmful:
    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = (call, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


def harmful(mark: Path) -> dict[str, Any]:
    command = f"touch {mark}"
    return {
        "system": Harmful(os.system, command),
        "eval": Harmful(builtins.eval, f"open({str(mark)!r}, 'w')"),
        "exec": Harmful(builtins.exec, f"open({str(mark)!r}, 'w')"),
        "open": Harmful(builtins.open, str(mark), "w"),
        "getattr": Harmful(getattr, "", "x"),
        "nested": Harmful(map, Harmful(os.system, command), [command]),
        "subprocess": Harmful(subprocess.call, command.split()),
        "numpy load": Harmful(np.load, str(mark), None, True),
        "object array": np.array([Harmful(os.system, command)], dtype=object),
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", list(harmful(Path("x"))))
def test_a_harmful_pickle_is_refused_and_not_run(tmp_path: Path, name: str, protocol: int) -> None:
    mark = tmp_path / "mark"
    content = pickle.dumps(([*PICTURES[:1], harmful(mark)[name]], [True]), protocol=protocol)
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(DataError, match=r"nothing else, got .*; nothing in it was executed"):
        read_bin(tmp_path / "a.bin")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x80\x02cos\nsystem\nU\x02ls\x85R.", "the name 'os.system' at byte 2"),
        (b"(S'ls'\nios\nsystem\n.", "the instruction INST"),
        (b"(cnumpy\nndarray\nS'ls'\no.", "the instruction OBJ"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "the instruction NEWOBJ"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "a call of something else than the names known"),
        (b"\x80\x02\x82\x01.", "the instruction EXT1"),
        (b"\x80\x02Pid\n.", "the instruction PERSID"),
        (b"\x80\x05\x97.", "the instruction NEXT_BUFFER"),
        (b"\x80\x02}.", "the instruction EMPTY_DICT"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "the name 'os.system'"),
        (b"\x80\x04\x8c\x0bnumpy.dtype\x8c\x01x\x93.", "the name 'numpy.dtype.x'"),
        (b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x04\0\0\0utf7\x86R.", "do not fit"),
        (b"\x80\x02cnumpy\ndtype\nU\x01O\x85R.", "a name where data was due"),
        (b"", "the end of the file"),
        (b"\x80\x02]", "the end of the file"),
        (b"\xff\xd8\xff", "the byte b'.xff'"),
        (b"\x80\x02B\xff\xff\xff\x7fab", "expected 2147483647 bytes"),
        (b"\x80\x02h\x07.", "7 at byte 2"),
        (b"\x80\x02a.", "needs more than there is"),
        (b"\x80\x02K\x01(a.", "needs more than there is"),
        (b"\x80\x02K\x01K\x02a.", "appends to what is no list"),
        (b"\x80\x02t.", "without its mark"),
        (b"\x80\x02K\x01)b.", "a state for something else than an array"),
        (b"S'abc\n.", "a text without quotes"),
    ],
)
def test_programs_by_hand_are_refused(content: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told):
        load_harmless(content, Path("a.bin"))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    # Any other error than ours, and any crash, would fail here.
    with suppress(DataError):
        load_harmless(content, Path("a.bin"))


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
def test_a_damaged_pack_is_read_or_refused(place: int, new: bytes) -> None:
    content = bytearray(pickle.dumps(([b"abc", np.zeros(3, np.uint8)], [True]), protocol=4))
    place %= len(content)
    content[place : place + len(new)] = new
    with suppress(DataError):
        load_harmless(bytes(content), Path("a.bin"))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([PICTURES[:2], [True], 1], "must hold .list of 2n pictures, list of n booleans., got"),
        (7, "must hold .*, got int"),
        ((PICTURES[0], [True]), "got parts that are no lists"),
        ((PICTURES[:3], [True]), "got 3 pictures and 1 booleans"),
        (([], []), "got 0 pictures and 0 booleans"),
        (([PICTURES[0], "text"], [True]), "picture 1 must be the bytes of a picture file, got str"),
        (([b"", PICTURES[0]], [True]), "picture 0 must be the bytes of a picture file, got bytes"),
        (([np.zeros((2, 2), np.uint8)] * 2, [True]), "picture 0 must be the bytes"),
        ((PICTURES[:2], [3]), "pair 0 must be True or False, got 3"),
    ],
)
def test_other_content_is_told(tmp_path: Path, value: Any, told: str) -> None:
    (tmp_path / "a.bin").write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match=told):
        read_bin(tmp_path / "a.bin")


def test_arrays_of_another_type_are_refused(tmp_path: Path) -> None:
    for array in (np.zeros(2, np.float32), np.asfortranarray(np.zeros((2, 3), np.uint8))):
        (tmp_path / "a.bin").write_bytes(pickle.dumps(([array] * 2, [True]), protocol=2))
        with pytest.raises(DataError, match=r"an array that is not uint8|Fortran"):
            read_bin(tmp_path / "a.bin")


def test_pairs_and_faces_have_the_same_names(tmp_path: Path) -> None:
    write_bin(tmp_path / "a.bin", PICTURES, np.array(ANSWERS))
    pack = read_bin(tmp_path / "a.bin")
    pairs, faces = pack.pair_list(folds=2), pack.faces()
    assert pairs.first[:2] == [("pair_00000", 1), ("pair_00001a", 1)]
    assert pairs.second[:2] == [("pair_00000", 2), ("pair_00001b", 1)]
    assert pairs.fold.tolist() == [0, 0, 1, 1]
    assert faces.names[:3] == [
        "pair_00000/pair_00000_0001.jpg",
        "pair_00000/pair_00000_0002.jpg",
        "pair_00001a/pair_00001a_0001.jpg",
    ]
    assert [bytes(content) for content in faces.stored(range(8))] == PICTURES
    assert faces.read([0, 7]).shape == (2, 16, 16, 3)
    write_pairs(pairs, tmp_path / "pairs.txt")
    assert pictures_of_pairs(faces, pack.first, pack.second) == PICTURES
    with pytest.raises(ValueError, match="folds must be at least 1, got 0"):
        pack.pair_list(folds=0)


def test_writing_asks_for_two_pictures_a_pair(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two a pair, 4, got 8"):
        write_bin(tmp_path / "a.bin", PICTURES, np.array([True, False]))
    with pytest.raises(ValueError, match=r"protocol must lie in \[2, 5\], got 1"):
        write_bin(tmp_path / "a.bin", PICTURES, np.array(ANSWERS), protocol=1)
