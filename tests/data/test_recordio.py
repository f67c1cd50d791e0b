"""Framing against a plain loop, and every way in which a record file can be broken."""

import io
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginface.data.recordio import RecordWriter, framed, pack_header, unpack_header
from marginface.data.recordio_reader import RecordFile, read_index
from marginface.errors import DataError
from tests.data.records import MAGIC, plain_record, write_rec

PIECES = st.lists(st.one_of(st.binary(max_size=9), st.just(MAGIC), st.just(MAGIC[:2])), max_size=8)


@given(PIECES)
def test_a_record_is_framed_as_the_published_writer_does(pieces: list[bytes]) -> None:
    payload = b"".join(pieces)
    assert framed(payload) == plain_record(payload)


@given(st.lists(PIECES, min_size=1, max_size=6))
def test_payloads_come_back_with_and_without_the_index(records: list[list[bytes]]) -> None:
    payloads = [pack_header(1.0, id=row) + b"".join(parts) for row, parts in enumerate(records)]
    file = io.BytesIO()
    writer = RecordWriter(file)
    offsets = [writer.write(payload) for payload in payloads]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.rec")
        path.write_bytes(file.getvalue())
        read = RecordFile.open(path)
    assert read.offsets.tolist() == offsets
    assert [bytes(read.payload(row)) for row in range(len(read))] == payloads


@given(
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=5),
    st.integers(0, 2**64 - 1),
)
def test_headers_come_back(labels: list[float], number: int) -> None:
    packed = pack_header(labels, id=number) + b"x"
    header, length = unpack_header(packed)
    assert (list(header.labels), header.id, header.flag) == (labels, number, len(labels))
    assert packed[length:] == b"x"


def test_a_header_cut_short_is_told() -> None:
    with pytest.raises(ValueError, match="a header of 24 bytes, got 3"):
        unpack_header(b"abc")
    with pytest.raises(ValueError, match="must hold its 9 labels, got 24 bytes"):
        unpack_header(struct.pack("<IfQQ", 9, 0.0, 0, 0))


def test_a_cut_off_file_names_record_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    write_rec(path, has_header=False)
    offsets = read_index(path.with_suffix(".idx"))[1]
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    told = rf"a.rec record 12 \(byte {offsets[-1]:,}\): must hold .* the file ends after"
    with pytest.raises(DataError, match=told):
        RecordFile.open(path)
    path.write_bytes(content[: offsets[7] + 4])
    with pytest.raises(DataError, match=rf"record 8 \(byte {offsets[7]:,}\): must begin at a mult"):
        RecordFile.open(path)
    path.with_suffix(".idx").unlink()
    with pytest.raises(DataError, match=r"record 7 .*: must have a frame of 8 bytes, but the"):
        RecordFile.open(path)
    path.write_bytes(content[: offsets[7] + 40])
    with pytest.raises(
        DataError, match=rf"record 7 of the file \(byte {offsets[7]:,}\): must take"
    ):
        RecordFile.open(path)


def test_a_damaged_record_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    write_rec(path, has_header=False)
    offset = int(read_index(path.with_suffix(".idx"))[1][5])
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)
    told = rf"record 6 \(byte {offset:,}\): must begin with 0xced7230a, got 0xced723f5; it was alt"
    with pytest.raises(DataError, match=told):
        RecordFile.open(path)
    path.with_suffix(".idx").unlink()
    with pytest.raises(DataError, match=rf"record 5 of the file \(byte {offset:,}\): must begin w"):
        RecordFile.open(path)


def test_a_damaged_length_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    write_rec(path, has_header=False)
    offset = int(read_index(path.with_suffix(".idx"))[1][5])
    path.with_suffix(".idx").unlink()
    content = bytearray(path.read_bytes())
    content[offset + 5] += 1
    path.write_bytes(content)
    told = rf"record 5 of the file \(byte {offset:,}\): must take .* another record begins after"
    with pytest.raises(DataError, match=told):
        RecordFile.open(path)


def test_parts_that_do_not_follow_one_another_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    whole = framed(pack_header(0.0, id=1) + MAGIC + b"tail")
    path.write_bytes(whole)
    path.with_suffix(".idx").write_text("1\t0\n")
    assert bytes(RecordFile.open(path).payload(0))[24:] == MAGIC + b"tail"
    altered = bytearray(whole)
    altered[32 + 7] = 0  # the last part now says it is a record of its own
    path.write_bytes(altered)
    with pytest.raises(DataError, match=r"record 1 \(byte 0\): must go on at byte 32 with its par"):
        RecordFile.open(path).payload(0)
    path.with_suffix(".idx").write_text("1\t32\n")
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"record 1 \(byte 32\): is the rest of another record"):
        RecordFile.open(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1\t0\nx\t9\n", r"line 2: a record must be 'key TAB offset'.*b'x\\t9'"),
        ("1\t0\n2\n", "two numbers in each of its 2 lines, got 3"),
        ("", "two numbers in each of its 0 lines, got 0"),
    ],
)
def test_an_index_that_is_none_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "a.rec"
    write_rec(path)
    path.with_suffix(".idx").write_text(text)
    with pytest.raises(DataError, match=told):
        RecordFile.open(path)


def test_an_index_without_a_last_newline_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.idx").write_text("4\t0\n2\t64")
    keys, offsets = read_index(tmp_path / "a.idx")
    assert (keys.tolist(), offsets.tolist()) == ([4, 2], [0, 64])


def test_ids_that_are_all_alike_do_not_become_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    path.write_bytes(b"".join(framed(pack_header(0.0, id=5) + b"x") for _ in range(3)))
    assert RecordFile.open(path).keys.tolist() == [0, 1, 2]


def test_absent_and_empty_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be read"):
        RecordFile.open(tmp_path / "absent.rec")
    (tmp_path / "empty.rec").touch()
    with pytest.raises(DataError, match="it is empty"):
        RecordFile.open(tmp_path / "empty.rec")


def test_a_payload_is_a_view_unless_it_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    write_rec(path, has_header=False, extra={0: b"\0" * 3 + MAGIC})
    read = RecordFile.open(path)
    assert np.shares_memory(np.frombuffer(read.payload(3), np.uint8), read.data)
