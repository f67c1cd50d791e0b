"""Every format to every other: the same pictures, the same bytes where the format allows."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from marginface.data import (
    FORMATS,
    PackedFaces,
    checksum_of,
    convert_faces,
    manifest_of,
    open_encoded,
    open_faces,
    open_rec,
    read_bin,
    read_pairs,
    write_bin,
)
from marginface.data import convert as conversion
from marginface.data.convert_sinks import RecSink, safe_name
from marginface.data.convert_work import work_folder
from marginface.data.encoded_faces import Checksum, FaceItem
from marginface.errors import CheckpointWriteError, DataError, ProtocolFileError
from tests.data.made import full_disk_after, make_pack
from tests.data.records import MAGIC, jpeg, write_rec

# What stands at the end of a path to make each format.
TARGETS = {
    "folder": "set",
    "pack": "set.pack",
    "rec": "set.rec",
    "webdataset": "set.tar",
    "parquet": "set.parquet",
}
SHARDED = {"webdataset": "shards", "parquet": "parts"}
PEOPLE = {"zoë": 3, "anna": 4, "berta b": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("convert") / "people")


def make_folder(path: Path, each: int = 1) -> Path:
    number = 0
    for person, count in PEOPLE.items():
        (path / person).mkdir(parents=True)
        for place in range(1, count * each + 1):
            (path / person / f"{person}_{place:04d}.jpg").write_bytes(jpeg(number))
            number += 1
    return path


def bytes_of(path: Path) -> dict[str, bytes]:
    """Every file of a set, without the report that says when it was made."""
    if path.is_file():
        stem = path.with_suffix("")
        files = [stem.with_suffix(ending) for ending in (".rec", ".idx", ".lst")]
        return {file.name: file.read_bytes() for file in [path, *files] if file.is_file()}
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name != "pack.json"
    }


@pytest.mark.parametrize("kind", list(TARGETS))
@pytest.mark.parametrize("other", list(TARGETS))
def test_every_format_to_every_other(folder: Path, tmp_path: Path, kind: str, other: str) -> None:
    one, two, back = (tmp_path / place for place in ("one", "two", "back"))
    first = convert_faces(folder, one / TARGETS[kind])
    second = convert_faces(one / TARGETS[kind], two / TARGETS[other])
    assert first.checksum == second.checksum == checksum_of(open_encoded(folder))
    assert (second.images, second.identities, second.kept) == (12, 3, 12)
    made = open_encoded(two / TARGETS[other])
    assert made.identities == ["anna", "berta b", "zoë"]
    assert sorted(made.names) == open_encoded(folder).names
    # And back: what one format held is made again from the other, byte for byte.
    convert_faces(two / TARGETS[other], back / TARGETS[kind])
    assert bytes_of(back / TARGETS[kind]) == bytes_of(one / TARGETS[kind])
    assert not list(tmp_path.rglob("*.converting"))


@pytest.mark.parametrize("kind", list(SHARDED))
def test_shards_in_a_folder(folder: Path, tmp_path: Path, kind: str) -> None:
    report = convert_faces(folder, tmp_path / "shards", kind=kind, chunk=5)
    assert len(list((tmp_path / "shards").iterdir())) == 3
    made = open_encoded(tmp_path / "shards")
    assert made.kind == kind
    assert checksum_of(made) == report.checksum
    order = [11, 0, 7, 7, 3]
    assert [bytes(content) for content in made.stored(order)] == [
        bytes(content) for content in open_encoded(folder).stored(order)
    ]


@pytest.mark.parametrize("is_array", [False, True])
@pytest.mark.parametrize("extra", [{}, {2: MAGIC * 3, 6: b"x" + MAGIC}])
def test_a_foreign_rec_is_copied_byte_for_byte(
    tmp_path: Path, is_array: bool, extra: dict[int, bytes]
) -> None:
    source, out = tmp_path / "a.rec", tmp_path / "b.rec"
    write_rec(source, is_array=is_array, extra=extra)
    convert_faces(source, out)
    assert out.read_bytes() == source.read_bytes()
    assert out.with_suffix(".idx").read_text() == source.with_suffix(".idx").read_text()


@pytest.mark.parametrize("dropped", [0, 5, 11])
def test_a_record_the_index_leaves_out_is_not_copied(tmp_path: Path, dropped: int) -> None:
    source, out = tmp_path / "a.rec", tmp_path / "b.rec"
    pictures = write_rec(source, has_header=False)
    lines = source.with_suffix(".idx").read_text().splitlines(keepends=True)
    source.with_suffix(".idx").write_text("".join(lines[:dropped] + lines[dropped + 1 :]))
    convert_faces(source, out)
    kept = pictures[:dropped] + pictures[dropped + 1 :]
    assert [bytes(content) for content in open_rec(out).stored(range(11))] == kept
    assert pictures[dropped] not in out.read_bytes()


def test_our_rec_is_the_published_layout(folder: Path, tmp_path: Path) -> None:
    """With plain records, the header and the identity ranges where insightface puts them."""
    convert_faces(folder, tmp_path / "a.rec")
    ours = (tmp_path / "a.rec").read_bytes()
    faces = open_encoded(folder)
    (tmp_path / "b").mkdir()
    pictures = [bytes(content) for content in faces.stored(range(12))]
    import tests.data.records as plain

    records = [
        (row + 1, plain.header([float(faces.labels[row])], row + 1, is_array=False) + picture)
        for row, picture in enumerate(pictures)
    ]
    records.append((0, plain.header([13, 16], 0, is_array=True)))
    for row, (begin, end) in enumerate([(1, 5), (5, 10), (10, 13)]):
        records.append((13 + row, plain.header([begin, end], 13 + row, is_array=True)))
    assert ours == b"".join(plain.plain_record(payload) for _, payload in records)
    keys = [line.split("\t")[0] for line in (tmp_path / "a.idx").read_text().splitlines()]
    assert keys == [str(key) for key, _ in records]


@pytest.mark.parametrize("kind", list(TARGETS))
def test_raw_pixels_become_png_and_stay_exact(tmp_path: Path, kind: str) -> None:
    pack = make_pack(tmp_path / "raw.pack")
    report = convert_faces(tmp_path / "raw.pack", tmp_path / TARGETS[kind])
    made = open_encoded(tmp_path / TARGETS[kind])
    assert report.kept == (20 if kind == "pack" else 0)
    order = [made.names.index(name) for name in pack.names]
    assert (made.read(order) == pack.read(range(20))).all()
    convert_faces(tmp_path / TARGETS[kind], tmp_path / "back.pack", encoding="raw")
    back = PackedFaces.open(tmp_path / "back.pack")
    back.verify()
    assert {name: back.read([row]).tobytes() for row, name in enumerate(back.names)} == {
        name: pack.read([row]).tobytes() for row, name in enumerate(pack.names)
    }


def test_other_encodings(folder: Path, tmp_path: Path) -> None:
    report = convert_faces(folder, tmp_path / "a.rec", encoding="jpeg")
    assert report.kept == 12  # what is JPEG already is not made worse
    report = convert_faces(folder, tmp_path / "b.rec", encoding="png")
    assert report.kept == 0
    assert (open_rec(tmp_path / "b.rec").read([3]) == open_rec(tmp_path / "a.rec").read([3])).all()


def test_scattered_people_come_together_in_a_rec(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "a.pack", encoding="png")
    assert pack.labels[:3].tolist() == [0, 3, 2]
    convert_faces(tmp_path / "a.pack", tmp_path / "a.rec")
    faces = open_rec(tmp_path / "a.rec")
    assert (np.diff(faces.labels) >= 0).all()
    assert sorted(faces.names) == sorted(pack.names)


def test_a_pack_keeps_its_encoding_and_says_what_does_not_fit(folder: Path, tmp_path: Path) -> None:
    convert_faces(folder, tmp_path / "a.pack")
    pack = PackedFaces.open(tmp_path / "a.pack")
    assert (pack.encoding, pack.size) == ("jpeg", (16, 16))
    pack.verify()
    mixed = make_folder(tmp_path / "mixed")
    (mixed / "zoë" / "zoë_0002.jpg").write_bytes(jpeg(7, size=18))
    told = (
        r"zoë_0002.jpg must be jpeg of size \(16, 16\) as the first .* got jpeg of size \(18, 18\)"
    )
    with pytest.raises(DataError, match=told):
        convert_faces(mixed, tmp_path / "b.pack")
    (mixed / "zoë" / "zoë_0002.jpg").write_bytes(b"RIFF....WEBP")
    with pytest.raises(DataError, match="must be a JPEG or a PNG to be kept as it is in a pack"):
        convert_faces(mixed, tmp_path / "b.pack")
    assert not (tmp_path / "b.pack").exists()


@pytest.mark.parametrize("kind", list(TARGETS))
@pytest.mark.parametrize("stop", [2, 5, 6, 11])
def test_a_stopped_conversion_goes_on_and_ends_alike(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, stop: int
) -> None:
    whole = convert_faces(folder, tmp_path / "whole" / TARGETS[kind], chunk=3)
    out = tmp_path / "cut" / TARGETS[kind]
    seen = 0

    def stopping(item: FaceItem) -> FaceItem:
        nonlocal seen
        seen += 1
        if seen > stop:
            raise KeyboardInterrupt
        return item

    with monkeypatch.context() as patched:
        patched.setattr(conversion, "_checked", stopping)
        with pytest.raises(KeyboardInterrupt):
            convert_faces(folder, out, chunk=3)
    assert not out.exists()
    report = convert_faces(folder, out, chunk=3)
    # A tar file of its own is one shard, which begins again.
    assert report.resumed_at == (0 if kind == "webdataset" else stop // 3 * 3)
    assert report.checksum == whole.checksum
    assert report.kept == 12
    assert bytes_of(out) == bytes_of(tmp_path / "whole" / TARGETS[kind])
    if kind == "pack":
        PackedFaces.open(out).verify()


@pytest.mark.parametrize("kind", list(TARGETS))
@pytest.mark.parametrize("chunk", [3, 100])
def test_a_full_disk_is_told_and_keeps_what_can_be_gone_on_from(
    folder: Path, tmp_path: Path, kind: str, chunk: int
) -> None:
    out = tmp_path / "full" / TARGETS[kind]
    out.parent.mkdir()
    # The last file that grows is the longest; other formats are many short ones.
    convert_faces(folder, tmp_path / "whole" / TARGETS[kind], chunk=chunk)
    longest = max(path.stat().st_size for path in (tmp_path / "whole").rglob("*.*"))
    told = f"^{out} could not be written .*; what was there before is untouched; free some space"
    with full_disk_after(longest - 1), pytest.raises(CheckpointWriteError, match=told):
        convert_faces(folder, out, chunk=chunk)
    assert not out.exists()
    has_mark = (work_folder(out) / "progress.json").is_file()
    assert work_folder(out).exists() == has_mark, "work without a mark is of no use to anyone"
    report = convert_faces(folder, out, chunk=chunk)
    assert (report.resumed_at > 0) == has_mark
    assert bytes_of(out) == bytes_of(tmp_path / "whole" / TARGETS[kind])


def test_another_job_begins_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(conversion, "verify", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            convert_faces(folder, tmp_path / "a.rec", chunk=3)
    (tmp_path / "a.rec").touch()
    with pytest.raises(DataError, match=r"a.rec is there already; give another name, or replace"):
        convert_faces(folder, tmp_path / "a.rec", chunk=3)
    report = convert_faces(folder, tmp_path / "a.rec", chunk=3, encoding="png", may_replace=True)
    assert report.resumed_at == 0


ROOT = Path(__file__).parents[2]
# Sittings that each kill themselves, before the nth change of the disk or at the nth picture.
CHILD = """
import os, signal, sys
from marginface.data import convert
from tests.deaths import die_at_change

def die_at_picture(number):
    original, seen = convert._checked, []
    def deadly(item):
        seen.append(item)
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(item)
    convert._checked = deadly

source, out, *moments = sys.argv[1:]
for moment in moments:
    place, number = moment.split("-")
    if not (process := os.fork()):
        (die_at_picture if place == "picture" else die_at_change)(int(number))
        convert.convert_faces(source, out, chunk=20)
        os._exit(0)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status), f"{moment} did not kill"
    assert not os.path.exists(out), f"{moment} left {out}"
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(TARGETS))
def test_a_killed_conversion_goes_on_and_ends_alike(tmp_path: Path, kind: str) -> None:
    source = make_folder(tmp_path / "people", each=80)
    whole, out = tmp_path / "whole" / TARGETS[kind], tmp_path / "cut" / TARGETS[kind]
    convert_faces(source, whole, chunk=20)
    # How a sitting begins, the first marks if there are any, and the middle of what is left.
    last = 5 if kind == "webdataset" else 12
    moments = [*(f"change-{number}" for number in range(1, last + 1)), "picture-510"]
    subprocess.run([sys.executable, "-c", CHILD, source, out, *moments], cwd=ROOT, check=True)
    report = convert_faces(source, out, chunk=20)
    # A tar file of its own is one shard, which begins again.
    assert report.resumed_at == 0 if kind == "webdataset" else report.resumed_at >= 500
    assert bytes_of(out) == bytes_of(whole)


def test_what_does_not_read_back_does_not_appear(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.rec"

    original = RecSink.finish

    def spoil(sink: RecSink) -> None:
        original(sink)
        made = tmp_path / ".a.rec.converting" / "a.rec"
        content = bytearray(made.read_bytes())
        content[200] ^= 1
        made.write_bytes(content)

    monkeypatch.setattr(RecSink, "finish", spoil)
    with pytest.raises(DataError, match=r"must have the checksum \w{12}, got"):
        convert_faces(folder, out)
    assert not out.exists()


def test_the_checksum_knows_pictures_names_and_people_and_no_order() -> None:
    def total(*items: FaceItem) -> str:
        checksum = Checksum()
        for item in items:
            checksum.add(item)
        return checksum.hexadecimal

    one, two = FaceItem("a", 0, "a/1.jpg", b"x"), FaceItem("b", 1, "b/1.jpg", b"y")
    assert total(one, two) == total(two, one)
    others = [
        (one, two._replace(content=b"z")),
        (one, two._replace(name="b/2.jpg")),
        (one, two._replace(identity="c")),
        (one._replace(content=b"y"), two._replace(content=b"x")),
        (one,),
        (one, two, two),
    ]
    assert len({total(one, two), *(total(*items) for items in others)}) == 7
    halves = Checksum(total(one))
    halves.add(two)
    assert halves.hexadecimal == total(one, two)


def test_the_manifest_says_what_was_done(folder: Path, tmp_path: Path) -> None:
    report = convert_faces(folder, tmp_path / "a.parquet")
    told = json.loads(manifest_of(tmp_path / "a.parquet").read_text())
    assert told["checksum"] == report.checksum
    assert (told["images"], told["identities"], told["kind"]) == (12, 3, "parquet")


def test_replacing(folder: Path, tmp_path: Path) -> None:
    for kind in TARGETS:
        out = tmp_path / TARGETS[kind]
        convert_faces(folder, out)
        with pytest.raises(DataError, match="is there already"):
            convert_faces(folder, out)
        convert_faces(folder, out, may_replace=True)
        assert len(open_encoded(out)) == 12
    with pytest.raises(DataError, match="out must be another place than the source"):
        convert_faces(folder, folder, may_replace=True)


def test_choices_that_do_not_fit_are_told(folder: Path, tmp_path: Path) -> None:
    for out, options, told in (
        ("a.recc", {}, "out must end in one of .rec, .bin, .tar, .parquet, .pack or in none"),
        ("a", {"kind": "rekord"}, "kind must be one of folder, pack.*got 'rekord'"),
        ("a", {"kind": "rec"}, "out must end in .rec, since .idx stands beside it, got 'a'"),
        ("a", {"encoding": "jpg"}, "encoding must be one of keep, raw, jpeg, png; got 'jpg'"),
        ("a", {"encoding": "raw"}, "encoding raw goes with a pack, got folder; use png"),
        ("a.bin", {"encoding": "png"}, "encoding must be keep for a .bin"),
        ("a.bin", {}, "a .bin holds pairs; name the pair list"),
        ("a", {"pairs": "pairs.txt"}, "pairs go with a .bin, got folder"),
        ("a", {"chunk": 0}, "chunk must be at least 1, got 0"),
        ("a", {"source_kind": "bun"}, "kind must be one of .* did you mean 'bin'"),
    ):
        with pytest.raises(ValueError, match=told):
            convert_faces(folder, tmp_path / out, **options)
    for source, told in (
        (tmp_path / "absent", "absent must be a set of faces, got nothing there"),
        (Path(__file__), "must be a folder or end in one of .rec, .bin, .tar, .parquet"),
    ):
        with pytest.raises(DataError, match=told):
            convert_faces(source, tmp_path / "a.rec")
    assert set(FORMATS) == {*TARGETS, "bin"}


def test_pairs_become_a_bin_and_a_bin_becomes_anything(folder: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("1\t2\nanna\t1\t4\nzoë\t1\t2\nanna\t1\tzoë\t3\nanna\t2\tberta b\t5\n")
    report = convert_faces(folder, tmp_path / "a.bin", pairs=pairs)
    assert (report.kept, report.images) == (8, 12)
    pack = read_bin(tmp_path / "a.bin")
    assert pack.is_mated.tolist() == [True, True, False, False]
    source = open_encoded(folder)
    assert pack.pictures[5] == source.stored([source.names.index("zoë/zoë_0003.jpg")])[0]
    convert_faces(tmp_path / "a.bin", tmp_path / "again.bin")
    assert (tmp_path / "again.bin").read_bytes() == (tmp_path / "a.bin").read_bytes()
    pairs.write_text("1\t1\nanna\t1\t9\nanna\t1\tzoë\t3\n")
    with pytest.raises(ProtocolFileError, match="line 2: image 'anna/anna_0009"):
        convert_faces(folder, tmp_path / "b.bin", pairs=pairs)


def test_a_bin_becomes_a_folder_with_its_pair_list(tmp_path: Path) -> None:
    pictures = [jpeg(seed) for seed in range(40)]
    write_bin(tmp_path / "a.bin", pictures, np.array([True, False] * 10))
    convert_faces(tmp_path / "a.bin", tmp_path / "lfw")
    pairs = read_pairs(tmp_path / "lfw.pairs.txt")
    assert len(pairs) == 20
    report = convert_faces(tmp_path / "lfw", tmp_path / "b.bin", pairs=tmp_path / "lfw.pairs.txt")
    assert report.kept == 40
    assert (tmp_path / "b.bin").read_bytes() == (tmp_path / "a.bin").read_bytes()


@pytest.mark.parametrize(
    "name", ["a/../b", "../b", "a/.b", "b/1.jpg", "a", "a/", "a/b/c", "a/b\\c"]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="a name must be 'identity/picture' of 'a', got"):
        safe_name("a", name)


def test_a_pack_is_opened_as_a_pack_and_the_rest_as_it_is(folder: Path, tmp_path: Path) -> None:
    make_pack(tmp_path / "a.pack")
    assert isinstance(open_faces(tmp_path / "a.pack"), PackedFaces)
    assert open_faces(folder).kind == "folder"
