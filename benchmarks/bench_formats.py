"""Reading and converting .rec sets, against a reader that seeks and unpacks record by record.

`random access` gives stored pictures and labels in random order, batches of 128, warm page cache:
the baseline parses the .idx into a dict, seeks in a Python file and unpacks each header with
struct, as MXNet's own Python reader does. `touched` reads every byte as well. `end to end` goes on
to decoded, mirrored, normalised float batches; the baselines do that picture by picture, once as
insightface's loader does (PIL and torch), once with NumPy alone. One thread, but for the row that
says two. `opening`, `scan` and `convert` count records; `file` is plain reading in blocks of 1 MiB.

    --records 1000000 --payload 200     the large set, some minutes
"""

import argparse
import os
import struct
import tempfile
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from harness import RESULTS, Row, Sample, machine_stamp, measure, show, write_rows
from marginface.data import EncodedFaces, checksum_of, convert_faces, open_rec, read_floats
from marginface.data.recordio import RecordWriter, pack_header

SIDE, BATCH, EACH = 112, 128, 100
Order = NDArray[np.int64]


def write_rec(path: Path, payloads: Callable[[int], bytes], records: int) -> None:
    """Write pictures with labels, then the header and the identity records."""
    with path.open("wb") as file, path.with_suffix(".idx").open("wb") as index:
        writer = RecordWriter(file)

        def write(key: int, payload: bytes) -> None:
            index.write(b"%d\t%d\n" % (key, writer.write(payload)))

        for row in range(records):
            write(row + 1, pack_header(float(row // EACH), id=row + 1) + payloads(row))
        people = -(-records // EACH)
        write(0, pack_header([records + 1.0, records + 1.0 + people], id=0))
        for person in range(people):
            begin = 1.0 + person * EACH
            end = min(begin + EACH, records + 1.0)
            write(records + 1 + person, pack_header([begin, end], id=records + 1 + person))


def noise(payload: int) -> Callable[[int], bytes]:
    pool = np.random.default_rng(0).bytes(payload + (1 << 16))
    return lambda row: pool[row % (1 << 16) : row % (1 << 16) + payload]


def pictures(count: int) -> Callable[[int], bytes]:
    rng = np.random.default_rng(0)
    stored = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        image = cv2.add(image, rng.integers(0, 20, image.shape, dtype=np.uint8))
        stored.append(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return lambda row: stored[row % count]


IRHeader = namedtuple("IRHeader", ["flag", "label", "id", "id2"])


class PlainReader:
    """MXIndexedRecordIO and unpack in Python: a dict of offsets, a seek, two reads, struct."""

    def __init__(self, path: Path) -> None:
        self.offsets = {}
        with path.with_suffix(".idx").open() as index:
            for line in index:
                key, offset = line.split("\t")
                self.offsets[int(key)] = int(offset)
        self.file = path.open("rb")

    def read(self, key: int) -> tuple[IRHeader, bytes]:
        self.file.seek(self.offsets[key])
        magic, frame = struct.unpack("<II", self.file.read(8))
        assert magic == 0xCED7230A
        payload = self.file.read(frame & ((1 << 29) - 1))
        header = IRHeader(*struct.unpack("<IfQQ", payload[:24]))
        payload = payload[24:]
        if header.flag > 0:
            header = header._replace(label=np.frombuffer(payload, np.float32, header.flag))
            payload = payload[header.flag * 4 :]
        return header, payload


def batches(order: Order) -> list[Order]:
    return [order[begin : begin + BATCH] for begin in range(0, len(order), BATCH)]


def views(faces: EncodedFaces, order: Order) -> None:
    for rows in batches(order):
        _ = faces.stored(rows), faces.labels.take(rows)


def touched(faces: EncodedFaces, order: Order) -> None:
    for rows in batches(order):
        _ = b"".join(faces.stored(rows)), faces.labels[rows]


def plain_views(reader: PlainReader, order: Order) -> None:
    for rows in batches(order):
        _ = [reader.read(row + 1) for row in rows.tolist()]


def random_access(path: Path, reads: int, repeats: int) -> list[Row]:
    faces, reader = open_rec(path), PlainReader(path)
    order = np.random.default_rng(1).integers(0, len(faces), reads)
    for row in order[:100].tolist():
        header, stored = reader.read(row + 1)
        assert (header.label, stored) == (faces.labels[row], bytes(faces.stored([row])[0]))
    samples = measure(
        {
            "seek and unpack": lambda: plain_views(reader, order),
            "marginface": lambda: views(faces, order),
            "marginface, touched": lambda: touched(faces, order),
        },
        repeats=repeats,
    )
    reader.file.close()
    return rates(samples, mode="random access", count=reads, records=len(faces))


def opening(path: Path, repeats: int) -> list[Row]:
    without = path.with_name("without.rec")
    without.unlink(missing_ok=True)
    os.link(path, without)
    count = len(open_rec(path))
    assert (open_rec(without).labels == open_rec(path).labels).all()

    def read_plainly() -> None:
        PlainReader(path).file.close()

    samples = measure(
        {
            "idx to dict": read_plainly,
            "marginface, idx and headers": lambda: open_rec(path),
            "marginface, scan without idx": lambda: open_rec(without),
        },
        repeats=repeats,
    )
    return rates(samples, mode="opening", count=count, records=count)


def peer_like(path: Path, order: Order, flips: NDArray[np.bool_]) -> torch.Tensor:
    """Insightface's loader: PIL's mirror, ToTensor, Normalize, collate."""
    reader, mean = PlainReader(path), torch.full((3, 1, 1), 0.5)
    for rows in batches(order):
        done = []
        for row in rows.tolist():
            bgr = cv2.imdecode(np.frombuffer(reader.read(row + 1)[1], np.uint8), cv2.IMREAD_COLOR)
            image = Image.fromarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
            if flips[row]:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
            done.append(tensor.float().div(255).sub_(mean).div_(mean))
        batch = torch.stack(done)
    reader.file.close()
    return batch


def numpy_chain(
    path: Path, order: Order, flips: NDArray[np.bool_], kind: type = float
) -> torch.Tensor:
    """Decode, swap, flip, to float, normalise, transpose; `astype(float)` means float64."""
    reader = PlainReader(path)
    for rows in batches(order):
        done = []
        for row in rows.tolist():
            bgr = cv2.imdecode(np.frombuffer(reader.read(row + 1)[1], np.uint8), cv2.IMREAD_COLOR)
            image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            if flips[row]:
                image = np.flip(image, axis=1)
            scaled = (image.astype(kind) - 127.5) / 127.5
            done.append(torch.from_numpy(scaled.transpose(2, 0, 1).astype(np.float32)))
        batch = torch.stack(done)
    reader.file.close()
    return batch


def end_to_end(path: Path, repeats: int) -> list[Row]:
    faces = open_rec(path)
    count = len(faces) // BATCH * BATCH
    order = np.random.default_rng(2).permutation(len(faces))[:count]
    flips = np.random.default_rng(3).random(len(faces)) < 0.5

    room = torch.empty(BATCH, SIDE, SIDE, 3)

    def epoch() -> torch.Tensor:
        for rows in batches(order):
            batch = read_floats(faces, rows, is_mirrored=flips[rows], out=room)
        return batch

    pool = ThreadPoolExecutor(2)

    def epoch_of_two() -> None:
        def made(rows: Order) -> torch.Size:
            return read_floats(faces, rows, is_mirrored=flips[rows]).shape

        list(pool.map(made, batches(order)))

    expected = numpy_chain(path, order, flips)
    torch.testing.assert_close(epoch(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(peer_like(path, order, flips), expected, rtol=0, atol=1e-6)
    samples = measure(
        {
            "peer-like, PIL and torch": lambda: peer_like(path, order, flips),
            "picture by picture, NumPy": lambda: numpy_chain(path, order, flips),
            "the same in float32": lambda: numpy_chain(path, order, flips, np.float32),
            "marginface": epoch,
            "marginface, 2 threads": epoch_of_two,
        },
        repeats=repeats,
    )
    pool.shutdown()
    return rates(samples, mode="end to end", count=count, records=len(faces))


def read_file(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass


def converting(path: Path, repeats: int) -> list[Row]:
    faces = open_rec(path)
    out = path.with_name("out")

    def convert(name: str, **options: str) -> None:
        convert_faces(path, out / name, may_replace=True, **options)

    variants: dict[str, Callable[[], object]] = {
        "file": lambda: read_file(path),
        "stored in order": lambda: touched(faces, np.arange(len(faces))),
        "checksum": lambda: checksum_of(open_rec(path)),
        "to .rec, verified": lambda: convert("a.rec"),
        "to .tar shards, verified": lambda: convert("shards", kind="webdataset"),
        "to .parquet, verified": lambda: convert("a.parquet"),
    }
    samples = measure(variants, repeats=repeats, warm_up=0)
    return rates(samples, mode="convert", count=len(faces), records=len(faces))


def rates(samples: dict[str, Sample], *, mode: str, count: int, records: int) -> list[Row]:
    """Records per second on the wall and per CPU second."""
    stamp, rows = machine_stamp(), []
    for variant, sample in samples.items():
        for metric, unit, seconds in (
            ("throughput", "records/s", sample.wall_s),
            ("throughput_cpu", "records/cpu-s", sample.cpu_s),
        ):
            if metric == "throughput_cpu" and "threads" in variant:
                continue
            p20, p50, p80 = np.percentile(count / np.maximum(seconds, 1e-9), (20, 50, 80)).round()
            spread = {"p20": float(p20), "p50": float(p50), "p80": float(p80)}
            rows.append(
                Row(
                    name="formats",
                    variant=variant,
                    mode=mode,
                    axis="records",
                    value=str(records),
                    metric=metric,
                    unit=unit,
                    **spread,
                    **stamp,
                )
            )
    return rows


def bench(root: Path, chosen: argparse.Namespace) -> list[Row]:
    rows = []
    write_rec(root / "pictures.rec", pictures(256), chosen.pictures)
    rows += random_access(root / "pictures.rec", chosen.reads, chosen.repeats)
    rows += end_to_end(root / "pictures.rec", chosen.repeats)
    sizes = [size for size in (1_000, 10_000, 100_000) if size < chosen.records]
    for size in [*sizes, chosen.records]:
        path = root / f"noise_{size}.rec"
        write_rec(path, noise(chosen.payload), size)
        rows += random_access(path, chosen.reads, chosen.repeats)
    rows += opening(path, chosen.repeats)
    return rows + converting(path, max(1, chosen.repeats // 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=640)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--payload", type=int, default=200)
    parser.add_argument("--reads", type=int, default=12_800)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "formats_cpu_202611.csv")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = bench(Path(folder), chosen)
    write_rows(chosen.out, rows)
    for mode in dict.fromkeys(row.mode for row in rows):
        print(mode)
        show(row for row in rows if row.mode == mode)


if __name__ == "__main__":
    main()
