"""Reading and converting .rec sets, against a reader that seeks and unpacks record by record.

`random access` finds stored pictures and labels in random order, batches of 128, warm page cache.
The baseline parses the .idx into a dict, seeks in a Python file and unpacks each header with
struct, as MXNet's own Python reader does in Python and C. `found` says where each picture lies and
touches none of it; `viewed` makes a Python object of each; `read` copies every byte.
`end to end` goes on to decoded, mirrored, normalised float batches; the baselines do that picture
by picture. `opening` and `convert` count records; `file` is plain reading in blocks of 1 MiB.

One thread, but for the row that says two. Rows are written topic by topic. The whole takes some
three minutes and 3 GB in the folder for temporary files.

    --peer PYTHON    an interpreter with mxnet, torch and torchvision: insightface's own data set
"""

import argparse
import gc
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("MXNET_CPU_WORKER_NTHREADS", "1")

import cv2
import numpy as np
import torch

import format_peers as peers
from format_peers import BATCH, Order, PlainReader, batches, picture_by_picture
from harness import RESULTS, Row, Sample, machine_stamp, measure, show, write_rows
from marginface.data import EncodedFaces, checksum_of, convert_faces, open_rec, read_floats
from marginface.data.recordio import RecordWriter, pack_header

SIDE, EACH = 112, 100
SIZES = (1_000, 10_000, 100_000, 1_000_000)


def write_rec(path: Path, stored: list[bytes], records: int) -> None:
    """Write pictures with labels, then the header and the identity records."""
    with path.open("wb") as file, path.with_suffix(".idx").open("wb") as index:
        writer = RecordWriter(file)

        def write(key: int, payload: bytes) -> None:
            index.write(b"%d\t%d\n" % (key, writer.write(payload)))

        for row in range(records):
            write(row + 1, pack_header(float(row // EACH), id=row + 1) + stored[row % len(stored)])
        people = -(-records // EACH)
        write(0, pack_header([records + 1.0, records + 1.0 + people], id=0))
        for person in range(people):
            begin = 1.0 + person * EACH
            end = min(begin + EACH, records + 1.0)
            write(records + 1 + person, pack_header([begin, end], id=records + 1 + person))


def jpegs(count: int, side: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    stored = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        image = cv2.add(image, rng.integers(0, 20, image.shape, dtype=np.uint8))
        stored.append(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return stored


def found(faces: EncodedFaces, order: Order) -> None:
    for rows in batches(order):
        _ = faces.stored(rows), faces.labels.take(rows)


def viewed(faces: EncodedFaces, order: Order) -> None:
    for rows in batches(order):
        _ = list(faces.stored(rows)), faces.labels.take(rows)


def copied(faces: EncodedFaces, order: Order) -> None:
    for rows in batches(order):
        _ = b"".join(faces.stored(rows)), faces.labels.take(rows)


def random_access(path: Path, chosen: argparse.Namespace) -> list[Row]:
    faces, reader = open_rec(path), PlainReader(path)
    order = np.random.default_rng(1).integers(0, len(faces), chosen.reads)
    for row in order[:100].tolist():
        header, stored = reader.read(row + 1)
        assert (header.label, stored) == (faces.labels[row], bytes(faces.stored([row])[0]))
    samples = measure(
        {
            "seek and unpack": lambda: peers.plain_records(reader, order),
            "marginface, found": lambda: found(faces, order),
            "marginface, viewed": lambda: viewed(faces, order),
            "marginface, read": lambda: copied(faces, order),
        },
        repeats=chosen.repeats,
    )
    reader.file.close()
    samples |= by_mxnet("read", path, order, chosen)
    return rates(samples, mode="random access", count=len(order), records=len(faces))


OWN = {"read": "MXNet's own reader", "whole": "insightface's own, mxnet and torchvision"}


def by_mxnet(way: str, path: Path, order: Order, chosen: argparse.Namespace) -> dict[str, Sample]:
    """Let another interpreter time MXNet itself; nothing without one."""
    if chosen.peer is None:
        return {}
    np.save(path.with_suffix(".npy"), order)
    words = [chosen.peer, peers.__file__, way, path, path.with_suffix(".npy"), str(chosen.repeats)]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    spent = json.loads(told.splitlines()[-1])
    return {OWN[way]: Sample([wall for wall, _ in spent], [cpu for _, cpu in spent], [])}


def end_to_end(path: Path, chosen: argparse.Namespace) -> list[Row]:
    faces = open_rec(path)
    count = len(faces) // BATCH * BATCH
    order = np.random.default_rng(2).permutation(len(faces))[:count]
    flips = np.random.default_rng(3).random(len(faces)) < 0.5
    room = torch.empty(BATCH, SIDE, SIDE, 3)

    def epoch() -> torch.Tensor:
        for rows in batches(order):
            batch = read_floats(faces, rows, is_mirrored=flips[rows], out=room)
        return batch

    def made(rows: Order) -> torch.Size:
        return read_floats(faces, rows, is_mirrored=flips[rows]).shape

    pool = ThreadPoolExecutor(2)
    variants: dict[str, Callable[[], torch.Tensor]] = {
        name: lambda convert=convert: picture_by_picture(path, order, flips, convert)
        for name, convert in (
            ("PIL and torch", peers.by_pil),
            ("NumPy, float64", peers.by_numpy(float)),
            ("NumPy, float32", peers.by_numpy(np.float32)),
        )
    }
    variants["marginface"] = epoch
    expected = variants["NumPy, float64"]()
    for name, call in variants.items():
        torch.testing.assert_close(call(), expected, rtol=0, atol=1e-6, msg=name)
    others = {
        "marginface, uint8 batch": lambda: [
            faces.read(rows, is_mirrored=flips[rows]) for rows in batches(order)
        ],
        "marginface, 2 threads": lambda: list(pool.map(made, batches(order))),
    }
    samples = measure(variants | with_torchvision(path, order) | others, repeats=chosen.repeats)
    pool.shutdown()
    samples |= by_mxnet("whole", path, order, chosen)
    return rates(samples, mode="end to end", count=count, records=len(faces))


def with_torchvision(path: Path, order: Order) -> dict[str, Callable[[], object]]:
    """Return torchvision's own transforms behind OpenCV's decoder, where they can be imported."""
    try:
        convert = peers.transforms_of(0.5)
    except (ImportError, RuntimeError):
        return {}
    flips = np.zeros(len(order), np.bool_)  # it throws its own dice
    return {
        "OpenCV and torchvision": lambda: picture_by_picture(
            path, order, flips, lambda image, _: convert(image)
        )
    }


def opening(path: Path, chosen: argparse.Namespace) -> list[Row]:
    without = path.with_name("without.rec")
    os.link(path, without)
    count = len(open_rec(path))
    assert (open_rec(without).labels == open_rec(path).labels).all()
    samples = measure(
        {
            "idx to dict": lambda: PlainReader(path).file.close(),
            "marginface, idx and headers": lambda: open_rec(path),
            "marginface, scan without idx": lambda: open_rec(without),
        },
        repeats=min(3, chosen.repeats),
        warm_up=0,
    )
    return rates(samples, mode="opening", count=count, records=count)


def read_file(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass


def once(call: Callable[[], object]) -> Sample:
    """Time one call of what takes too long to be done again."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Sample([time.perf_counter() - wall], [time.process_time() - cpu], [])


def converting(path: Path, targets: dict[str, str]) -> list[Row]:
    faces, out = open_rec(path), path.with_name("out")
    samples = measure({"file": lambda: read_file(path)}, repeats=3)
    samples["stored in order"] = once(lambda: copied(faces, np.arange(len(faces))))
    samples["checksum of all"] = once(lambda: checksum_of(open_rec(path)))
    for name, target in targets.items():
        kind = "webdataset" if target == "shards" else None
        samples[name] = once(
            lambda target=target, kind=kind: convert_faces(path, out / target, kind=kind)
        )
    made = open_rec(out / "a.rec")
    assert checksum_of(made) == checksum_of(faces)
    return rates(samples, mode="convert", count=len(faces), records=len(faces))


def rates(samples: dict[str, Sample], *, mode: str, count: int, records: int) -> list[Row]:
    """Records per second on the wall and per CPU second.

    Memory would mislead: what a process has mapped of a file counts as its own.
    """
    stamp, rows = machine_stamp(), []
    for variant, sample in samples.items():
        for metric, unit, seconds in (
            ("throughput", "records/s", sample.wall_s),
            ("throughput_cpu", "records/cpu-s", sample.cpu_s),
        ):
            if metric == "throughput_cpu" and "threads" in variant:
                continue
            p20, p50, p80 = np.percentile(count / np.maximum(seconds, 1e-9), (20, 50, 80)).round()
            rows.append(
                Row(
                    name="formats", variant=variant, mode=mode, axis="records", value=str(records),
                    metric=metric, unit=unit, p20=float(p20), p50=float(p50), p80=float(p80),
                    **stamp,
                )
            )  # fmt: skip
    return rows


def bench(root: Path, chosen: argparse.Namespace) -> None:
    rows: list[Row] = []
    began = time.perf_counter()

    def keep(more: list[Row]) -> None:
        rows.extend(more)
        write_rows(chosen.out, rows)
        print(f"{more[0].mode}, after {time.perf_counter() - began:.0f} s", flush=True)
        show(more)

    (root / "out").mkdir()
    pictures = root / "pictures.rec"
    write_rec(pictures, jpegs(256, SIDE), chosen.pictures)
    keep(end_to_end(pictures, chosen))
    keep(random_access(pictures, chosen))
    keep(converting(pictures, dict(REC, **SHARDS)))
    small = jpegs(256, 8)
    for size in [size for size in SIZES if size <= chosen.records]:
        path = root / f"small_{size}.rec"
        write_rec(path, small, size)
        keep(random_access(path, chosen))
    keep(opening(path, chosen))
    (root / "out").rename(root / "out_of_pictures")
    (root / "out").mkdir()
    keep(converting(path, REC))


REC = {"to .rec, verified": "a.rec"}
SHARDS = {
    "to .tar shards, verified": "shards",
    "to .parquet, verified": "a.parquet",
    "to a pack, verified": "a.pack",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1_280)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--reads", type=int, default=12_800)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer")
    parser.add_argument("--folder", type=Path, help="for temporary files")
    parser.add_argument("--out", type=Path, default=RESULTS / "formats_cpu_202611.csv")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        bench(Path(folder), chosen)


if __name__ == "__main__":
    main()
