"""Search in large galleries: exact in three arithmetics, FAISS flat, cells, a graph, and our codes.

Made embeddings like faces: unit rows of 512 numbers, four pictures a person, people of one of a
hundred groups more alike, non-mated cosines with a deviation near 0.06. A thousand probes of people
enrolled, some bad, and a thousand of strangers. What an approximate search costs is told as FNIR
and FPIR at the threshold where one in a hundred strangers is let in by the exact search.
"""

import argparse
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from harness import RESULTS, Row, machine_stamp, measure, replace_rows, rows_of, show
from marginface.search import FaissIndex, search_topk
from marginface.search.index import filled, rescored

DIM = 512
PICTURES = 4
PROBES = 1000
K = 10
CANDIDATES = 128
Rows = NDArray[np.float32]
Ids = NDArray[np.int64]
Search = Callable[[Rows], Ids]


@dataclass(frozen=True, eq=False)
class Faces:
    rows: Rows
    mated: Rows
    owner: Ids
    strangers: Rows


def unit(rows: Rows) -> Rows:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


class Makers:
    """Made people: directions along a falling spectrum, so that cosines spread as of faces."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.spectrum = np.exp(-np.arange(DIM) / 300).astype(np.float32)
        # Turned, since a network's axes mean nothing.
        self.turn = np.linalg.qr(self.random.normal(size=(DIM, DIM)))[0].astype(np.float32)
        self.groups = self.directions(100)

    def directions(self, count: int) -> Rows:
        rows = self.random.standard_normal((count, DIM), dtype=np.float32) * self.spectrum
        return unit(rows @ self.turn)

    def people(self, count: int) -> Rows:
        group = self.groups[self.random.integers(len(self.groups), size=count)]
        return unit(np.float32(0.9**0.5) * self.directions(count) + np.float32(0.1**0.5) * group)

    def pictures(self, people: Rows, low: float, high: float) -> Rows:
        noise = self.random.uniform(low, high, (len(people), 1)).astype(np.float32)
        return unit(people + noise * self.directions(len(people)))


def faces(size: int) -> Faces:
    makers, rows = Makers(), np.empty((size, DIM), np.float32)
    asked, owner = [], []
    for start in range(0, size, 40_000):
        people = makers.people(min(40_000, size - start) // PICTURES)
        every = np.repeat(people, PICTURES, axis=0)
        rows[start : start + len(every)] = makers.pictures(every, 0.5, 1.2)
        chosen = makers.random.choice(len(people), max(1, len(people) * PROBES * 4 // size), False)
        asked.append(people[chosen])
        owner.append(chosen + start // PICTURES)
    mated = makers.pictures(np.concatenate(asked)[:PROBES], 0.5, 2.2)
    strangers = makers.pictures(makers.people(PROBES), 0.5, 2.2)
    return Faces(rows, mated, np.concatenate(owner)[:PROBES], strangers)


def exactly(rows: Rows, products: str, probes: Rows) -> Ids:
    gallery = torch.from_numpy(rows)
    return search_topk(torch.from_numpy(probes), gallery, K, products=products).rows.numpy()


def flat(index, probes: Rows) -> Ids:
    return index.search(probes, K)[1]


def scored_again(index, rows: Rows, probes: Rows) -> Ids:
    """What FAISS proposes, judged as our index judges."""
    found = []
    for probe, ids in zip(probes, index.search(probes, CANDIDATES)[1], strict=True):
        held = ids[ids >= 0]
        found.append(rescored(probe, held, rows[held], K))
    return filled(found, K).ids


def cells(rows: Rows, lists: int):
    index = faiss.index_factory(DIM, f"IVF{lists},PQ{DIM // 2}x4fs", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 8, 1, 40
    index.train(rows[:: max(1, len(rows) // (40 * lists))])
    index.add(rows)
    return index


def visiting(index, visited: int, rows: Rows, probes: Rows) -> Ids:
    index.nprobe = visited
    return scored_again(index, rows, probes)


def graph(rows: Rows):
    index = faiss.IndexHNSWFlat(DIM, 16, faiss.METRIC_INNER_PRODUCT)
    index.add(rows)
    index.hnsw.efSearch = 256
    return index


def flat_index(rows: Rows):
    index = faiss.IndexFlatIP(DIM)
    index.add(rows)
    return index


def resident_mib() -> float:
    gc.collect()
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


class Bench:
    """The rows of one size. Searches of all probes run once for each kind, and are timed."""

    def __init__(self, size: int, repeats: int) -> None:
        self.size, self.repeats, self.rows = size, repeats, list[Row]()
        self.faces, self.stamp = faces(size), machine_stamp()
        self.exact, self.threshold = list[Ids](), np.float32(0)

    def scores(self, probes: Rows, found: Ids) -> Rows:
        rows = self.faces.rows[np.maximum(found, 0)]
        scores = np.einsum("pd,pkd->pk", probes, rows)
        return np.where(found >= 0, scores, -np.inf)

    def row(self, variant: str, metric: str, unit_: str, *values: float) -> None:
        p20, p50, p80 = (float(f"{p:.4g}") for p in np.percentile(values, (20, 50, 80)))
        place = {"name": "search", "mode": "full", "axis": "rows", "value": str(self.size)}
        self.rows.append(
            Row(
                variant=variant,
                metric=metric,
                unit=unit_,
                p20=p20,
                p50=p50,
                p80=p80,
                **place,
                **self.stamp,
            )
        )

    def built(self, variant: str, build: Callable[[], object]):
        memory, wall, cpu = resident_mib(), time.perf_counter(), time.process_time()
        index = build()
        self.row(variant, "build_wall_time", "s", time.perf_counter() - wall)
        self.row(variant, "build_cpu_time", "s", time.process_time() - cpu)
        self.row(variant, "memory", "MiB", resident_mib() - memory)
        return index

    def judged(self, variant: str, search: Search) -> None:
        found, walls, cpus = list[Ids](), list[float](), list[float]()
        for probes in (self.faces.mated, self.faces.strangers):
            wall, cpu = time.perf_counter(), time.process_time()
            found.append(search(probes))
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        self.row(variant, "1000_at_once_wall_time", "s", *walls)
        self.row(variant, "1000_at_once_cpu_time", "s", *cpus)
        strange = self.scores(self.faces.strangers, found[1])[:, 0]
        if not self.exact:  # the first variant is the exact one
            self.exact = found
            self.threshold = np.nextafter(np.sort(strange)[-PROBES // 100 - 1], np.float32(2))
        for kind, mine, exact in zip(("mated", "strangers"), found, self.exact, strict=True):
            for k in (1, K):
                same = (mine[:, :k, None] == exact[:, None, :k]).any(axis=1).mean()
                self.row(variant, f"recall_at_{k}_{kind}", "fraction", float(same))
        best, score = found[0][:, 0], self.scores(self.faces.mated, found[0])[:, 0]
        is_found = (best // PICTURES == self.faces.owner) & (score >= self.threshold)
        self.row(variant, "fnir", "fraction", 1 - float(is_found.mean()))
        self.row(variant, "fpir", "fraction", float((strange >= self.threshold).mean()))

    def run(self, with_graph: bool) -> list[Row]:
        held = self.faces.rows
        searches: dict[str, Search] = {
            f"marginface exact {products}": partial(exactly, held, products)
            for products in ("float32", "bfloat16", "int8")
        }
        ours = FaissIndex(DIM, candidates=CANDIDATES)
        ours.add(np.arange(self.size), held)
        self.built("marginface faiss", lambda: ours.search(held[:1], 1))
        searches["marginface faiss"] = lambda probes: ours.search(probes, K).ids
        lists = 1024 if self.size < 500_000 else 2048
        index = self.built("faiss IVF", partial(cells, held, lists))
        for part in (16, 4):
            name = f"faiss IVF, a {part}th of {lists} cells"
            searches[name] = partial(visiting, index, lists // part, held)
        if with_graph:
            index = self.built("faiss HNSW", partial(graph, held))
            searches["faiss HNSW, M 16, ef 256"] = partial(scored_again, index, held)
        index = self.built("faiss flat", partial(flat_index, held))
        searches["faiss flat"] = partial(flat, index)
        for name, search in searches.items():
            self.judged(name, search)
            print(name, flush=True)
        few = {name: partial(one_by_one, each, self.faces.mated) for name, each in searches.items()}
        samples = measure(few, repeats=self.repeats, warm_up=0)
        place = {"mode": "full", "axis": "rows", "value": str(self.size)}
        return self.rows + rows_of(samples, name="search 5 probes one by one", **place)


def one_by_one(search: Search, probes: Rows) -> None:
    for probe in probes[:5]:
        search(probe[np.newaxis])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument(
        "--graph-up-to", type=int, default=0, help="Rows up to which HNSW is built."
    )
    parser.add_argument("--out", default=str(RESULTS / "search_cpu_202611.csv"))
    options = parser.parse_args()
    faiss.omp_set_num_threads(torch.get_num_threads())
    for size in options.sizes:
        print(f"{size:,} rows ...", flush=True)
        begun = time.perf_counter()
        rows = Bench(size, options.repeats).run(size <= options.graph_up_to)
        show(rows)
        replace_rows(Path(options.out), rows)
        print(f"took {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
