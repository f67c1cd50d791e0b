"""Benchmark protocols at their published sizes, beside the usual way, on the same made-up features.

`ijb`: pooling, pair scores and FNMR at FMR 1e-6 to 0.1 of IJB-C's shape, in order and with faces
and pairs shuffled; the usual way loops over templates, gathers the rows of 100,000 pairs at a time
and takes scikit-learn's `roc_curve`, in float64. All scores are compared with it, and a sample with
float64 throughout. `ijb_bootstrap`: 1,000 resamples over identities, without a peer.
`one_to_many`: 19,593 probes in both galleries of 3,531 entries; the usual way multiplies all in
float64, sorts every row, loops over the probes for ranks 1, 5, 10 and for the own scores, and takes
the highest of the others by a heap; "argsort, float32" is that sort alone with one look-up a probe.
`folds`: the public ten-fold of 6,000 pairs; the usual way loops over 400 thresholds and 10 folds.
`megaface`: nearest of 200,000 and 1,000,000 distractors beside `faiss.IndexFlatIP`, where it is
installed; answers are compared, and a sample with float64. `product`: 3,530 rows by 65,536, bare.

Where a way takes long its memory rounds are the timed ones, and the usual way of `ijb` has a single
one. `--scale` shrinks every list, `--only` picks topics. Rows are written when a topic ends and
replace those of its name.
"""

import argparse
import heapq
import importlib
import math
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from harness import RESULTS, Row, Sample, extra_mib, measure, replace_rows, rows_of, show
from marginface.evaluation.bootstrap import IdentityBootstrap
from marginface.evaluation.identification import cmc, older_points, search_gallery
from marginface.evaluation.insightface_folds import (
    grid_accuracy,
    grid_accuracy_draws,
    neighbouring_folds,
)
from marginface.evaluation.many_pairs import IJB_TARGETS, fnmr_at_fmrs, judge_many_pairs
from marginface.evaluation.templates import pool_templates, template_scores
from marginface.search import search_topk

Floats = NDArray[np.floating]
Codes = NDArray[np.int64]
DIM = 512
RANKS = (1, 5, 10)
FPIR = (0.01, 0.1)


class Ijb:
    """Faces, templates and pairs of IJB-C's shape: a gallery template a person, and probes."""

    def __init__(self, scale: float) -> None:
        rng = np.random.default_rng(0)
        faces, templates = int(469_375 * scale), int(23_124 * scale)
        people, pairs = int(3_531 * scale), int(15_658_489 * scale**2)
        self.template_ids = np.sort(
            np.append(np.arange(templates), rng.integers(0, templates, faces - templates))
        )
        self.media_ids = np.sort(rng.integers(0, 5, faces) + 5 * self.template_ids)
        owner = np.append(np.arange(people), rng.integers(0, people, templates - people))
        centres = unit_rows(rng, people)
        self.features = np.empty((faces, DIM), np.float32)
        for start in range(0, faces, 4096):
            rows = slice(start, start + 4096)
            noise = 2 * unit_rows(rng, self.template_ids[rows].size)
            self.features[rows] = centres[owner[self.template_ids[rows]]] + noise
        self.first = np.sort(rng.integers(0, people, pairs))
        self.second = rng.integers(people, templates, pairs)
        mated = rng.choice(pairs, size=max(pairs // 800, 10), replace=False)
        chosen = rng.choice(np.arange(people, templates), size=mated.size)
        self.first[mated], self.second[mated] = owner[chosen], chosen
        self.owner = owner
        self.order_pairs(np.argsort(self.first, kind="stable"))

    def order_pairs(self, order: Codes) -> None:
        self.first, self.second = self.first[order], self.second[order]
        self.people = self.owner[self.first], self.owner[self.second]
        self.is_mated = self.people[0] == self.people[1]

    def shuffle(self) -> None:
        """Bring faces and pairs into any order."""
        rng = np.random.default_rng(1)
        order = rng.permutation(len(self.features))
        self.features, self.template_ids = self.features[order], self.template_ids[order]
        self.media_ids = self.media_ids[order]
        self.order_pairs(rng.permutation(len(self.first)))


def once(call: Callable[[], object]) -> tuple[Sample, object]:
    """Run a call of minutes a single time, for its memory, its time and its answer."""
    sample = Sample([], [], [])
    answers = []

    def timed() -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        answers.append(call())
        sample.wall_s.append(time.perf_counter() - wall)
        sample.cpu_s.append(time.process_time() - cpu)

    sample.extra_mib.append(extra_mib(timed))
    return sample, answers[0]


def in_rounds(
    calls: dict[str, Callable[[], object]], repeats: int
) -> tuple[dict[str, Sample], dict[str, list[object]]]:
    """Run every call once a round, each time for its memory, its time and its answer."""
    samples = {name: Sample([], [], []) for name in calls}
    answers = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            one, answer = once(call)
            samples[name].wall_s.extend(one.wall_s)
            samples[name].cpu_s.extend(one.cpu_s)
            samples[name].extra_mib.extend(one.extra_mib)
            answers[name].append(answer)
    return samples, answers


def unit_rows(rng: np.random.Generator, rows: int) -> Floats:
    faces = rng.standard_normal((rows, DIM), dtype=np.float32)
    return faces / np.linalg.norm(faces, axis=1, keepdims=True)


def our_ijb(data: Ijb) -> tuple[Floats, list[float]]:
    templates = pool_templates(data.features, data.template_ids, data.media_ids)
    scores = template_scores(templates, data.first, data.second)
    points, _ = fnmr_at_fmrs(scores[data.is_mated], scores[~data.is_mated])
    return scores, [point.fnmr for point in points.values()]


def usual_pool(data: Ijb) -> Floats:
    ids = np.unique(data.template_ids)
    pooled = np.zeros((len(ids), DIM))
    for row, template in enumerate(ids):
        (mine,) = np.where(data.template_ids == template)
        faces, media = data.features[mine], data.media_ids[mine]
        pooled[row] = sum(faces[media == medium].mean(axis=0) for medium in np.unique(media))
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def usual_scores(pooled: Floats, data: Ijb) -> Floats:
    scores = np.zeros(len(data.first))
    for start in range(0, len(scores), 100_000):
        part = slice(start, start + 100_000)
        scores[part] = np.sum(pooled[data.first[part]] * pooled[data.second[part]], -1)
    return scores


def usual_ijb(data: Ijb) -> tuple[Floats, list[float]]:
    scores = usual_scores(usual_pool(data), data)
    fmr, hit, _ = roc_curve(data.is_mated, scores, drop_intermediate=False)
    nonmated = int((~data.is_mated).sum())
    targets = [target for target in IJB_TARGETS if int(target * nonmated + 1e-9)]
    return scores, [float(1 - hit[fmr <= target + 1e-12].max()) for target in targets]


def check_in_float64(data: Ijb, scores: Floats) -> None:
    """Compare the scores of 200 pairs with templates fused in float64 from the first face on."""
    for pair in np.random.default_rng(2).choice(len(scores), 200):
        fused = []
        for template in (data.first[pair], data.second[pair]):
            mine = np.flatnonzero(data.template_ids == template)
            faces, media = data.features[mine].astype(np.float64), data.media_ids[mine]
            total = sum(faces[media == medium].mean(axis=0) for medium in np.unique(media))
            fused.append(total / np.linalg.norm(total))
        assert abs(fused[0] @ fused[1] - scores[pair]) <= 1e-6


def ijb_rows(scale: float, repeats: int) -> list[Row]:
    rows, data = [], Ijb(scale)
    for order in ("grouped", "shuffled"):
        if order == "shuffled":
            data.shuffle()
        usual, (exact, rates) = once(partial(usual_ijb, data))
        scores, ours = our_ijb(data)
        np.testing.assert_allclose(scores, exact, rtol=0, atol=1e-6)
        check_in_float64(data, scores)
        # A float32 score may change places with a neighbour.
        np.testing.assert_allclose(ours, rates, atol=1e-3)
        del exact, scores
        samples = measure({"marginface": partial(our_ijb, data)}, repeats=repeats, warm_up=0)
        samples["usual way"] = usual
        value = f"{len(data.first)} {order}"
        rows += rows_of(samples, name="ijb", mode="full", axis="pairs", value=value)
    return rows


def bootstrap_rows(scale: float, repeats: int) -> list[Row]:
    data = Ijb(scale)
    rng = np.random.default_rng(1)
    scores = rng.standard_normal(len(data.first), dtype=np.float32) + 4 * data.is_mated
    sample, _ = once(
        lambda: judge_many_pairs(
            scores, data.is_mated, first_identity=data.people[0], second_identity=data.people[1]
        )
    )
    samples = {"marginface": sample}
    value = f"{len(data.first)} x 1000"
    return rows_of(samples, name="ijb_bootstrap", mode="full", axis="resamples", value=value)


def our_search(probes: Floats, gallery: Floats, owner: Codes) -> list[float]:
    people = np.arange(len(gallery))
    most = math.ceil(max(FPIR) * len(probes))
    found = search_gallery(
        probes, gallery, probe_identity=owner, gallery_identity=people, highest=most
    )
    points = older_points(found, FPIR)
    return [*cmc(found, RANKS).values(), *(point.fnir for point in points.values())]


def usual_search(probes: Floats, gallery: Floats, owner: Codes) -> list[float]:
    similarity = probes @ gallery.T
    order = np.argsort(-similarity)
    hits = []
    for rank in RANKS:
        found = 0
        for probe in range(len(probes)):
            if owner[probe] in order[probe, :rank]:
                found += 1
        hits.append(found / len(probes))
    own = []
    for probe in range(len(probes)):
        own.append(similarity[probe, owner[probe]])
        similarity[probe, owner[probe]] = -2.0
    others = similarity[np.where(similarity > -2.0)]
    highest = heapq.nlargest(math.ceil(max(FPIR) * len(probes)), others)
    cuts = [highest[math.ceil(target * len(probes)) - 1] for target in FPIR]
    return [*hits, *(float(1 - np.mean(np.array(own) > cut)) for cut in cuts)]


def sorted_ranks(probes: Floats, gallery: Floats, owner: Codes) -> Codes:
    order = np.argsort(-(probes @ gallery.T))
    return np.array([1 + int(np.where(order[p] == owner[p])[0][0]) for p in range(len(probes))])


def one_to_many_rows(scale: float, repeats: int) -> list[Row]:
    rng = np.random.default_rng(2)
    people, count = int(3_531 * scale), int(19_593 * scale)
    gallery, owner = unit_rows(rng, people), rng.integers(0, people, count)
    probes = unit_rows(rng, count) * rng.uniform(2, 7, (count, 1)) + gallery[owner]
    probes = (probes / np.linalg.norm(probes, axis=1, keepdims=True)).astype(np.float32)
    # Public code pools templates into float64.
    exact = probes.astype(np.float64), gallery.astype(np.float64), owner
    calls = {
        "marginface": lambda: our_search(probes, gallery, owner),
        "argsort, float32": lambda: sorted_ranks(probes, gallery, owner),
        "usual way": lambda: usual_search(*exact),
    }
    samples, answers = in_rounds(calls, repeats)
    # A tie within float32's rounding may fall either way.
    for ours, usual in zip(answers["marginface"], answers["usual way"], strict=True):
        np.testing.assert_allclose(ours, usual, rtol=0, atol=2.1 / count)
    return rows_of(samples, name="one_to_many", mode="full", axis="probes", value=str(count))


def usual_folds(distances: Floats, is_mated: NDArray[np.bool_]) -> tuple[float, float]:
    fold = neighbouring_folds(distances.size, 10)
    accuracies = []
    for code in range(10):
        train, test = fold != code, fold == code
        best, most = 0.0, -1.0
        for threshold in np.arange(0, 4, 0.01):
            right = np.mean(np.less(distances[train], threshold) == is_mated[train])
            if right > most:
                best, most = threshold, right
        for threshold in np.arange(0, 4, 0.01):
            accepted = np.less(distances[test], threshold)
            np.sum(accepted & is_mated[test]), np.sum(accepted & ~is_mated[test])
        accuracies.append(np.mean(np.less(distances[test], best) == is_mated[test]))
    return float(np.mean(accuracies)), float(np.std(accuracies))


def fold_rows(scale: float, repeats: int) -> list[Row]:
    rng = np.random.default_rng(3)
    pairs = max(int(6_000 * scale) // 20 * 20, 200)
    is_mated = np.tile(np.repeat([True, False], pairs // 20), 10)
    distances = (np.where(is_mated, 1.2, 1.9) + rng.normal(0, 0.2, pairs)).clip(0, 4)

    def ours() -> tuple[float, float]:
        record = grid_accuracy(distances, is_mated)
        return record.mean, record.std

    assert ours() == usual_folds(distances, is_mated)
    samples = measure(
        {"marginface": ours, "400 x 10 loop": lambda: usual_folds(distances, is_mated)},
        repeats=repeats,
    )
    rows = rows_of(samples, name="folds", mode="full", axis="pairs", value=str(pairs))
    first = rng.integers(0, pairs // 3, pairs)
    second = np.where(is_mated, first, first + pairs // 3)
    _, codes = np.unique([first, second], return_inverse=True)
    bootstrap = IdentityBootstrap(*codes.reshape(2, -1), seed=0, resamples=1000)
    samples = measure(
        {"marginface": lambda: grid_accuracy_draws(distances, bootstrap)}, repeats=repeats
    )
    return rows + rows_of(samples, name="folds", mode="full", axis="resamples", value="1000")


def megaface_rows(scale: float, repeats: int) -> list[Row]:
    rows = []
    for size in (200_000, 1_000_000):
        rng = np.random.default_rng(4)
        count, distractors = int(3_530 * scale), int(size * scale)
        gallery = np.empty((distractors, DIM), np.float32)
        for start in range(0, distractors, 8192):
            part = gallery[start : start + 8192]
            part[:] = unit_rows(rng, len(part))
        probes = unit_rows(rng, count)
        ours = torch.from_numpy(probes), torch.from_numpy(gallery)
        calls = {
            f"marginface {products}": partial(our_nearest, *ours, products)
            for products in ("float32", "int8")
        }
        built, named = {}, {"name": "megaface", "axis": "distractors", "value": str(distractors)}
        if (faiss := faiss_or_none()) is not None:
            index = faiss.IndexFlatIP(DIM)
            built["faiss flat"], _ = once(partial(index.add, gallery))
            calls["faiss flat"] = partial(faiss_nearest, index, probes)
        samples, answers = in_rounds(calls, repeats if size < 1_000_000 else 2)
        first = answers["marginface float32"][0]
        assert all(torch.equal(first, answer) for found in answers.values() for answer in found)
        check_nearest(probes[:100], gallery, first[:100, 0].numpy())
        rows += rows_of(built, mode="build", **named) + rows_of(samples, mode="full", **named)
    return rows


def check_nearest(probes: Floats, gallery: Floats, rows: Codes) -> None:
    """Compare with every score in float64, rounded to float32; the first of equal ones counts."""
    best = np.full(len(probes), -np.inf, np.float32)
    found = np.zeros(len(probes), np.int64)
    for start in range(0, len(gallery), 8192):
        scores = probes.astype(np.float64) @ gallery[start : start + 8192].T.astype(np.float64)
        highest, place = scores.max(axis=1).astype(np.float32), scores.argmax(axis=1)
        found = np.where(highest > best, start + place, found)
        best = np.maximum(best, highest)
    np.testing.assert_array_equal(rows, found)


def product_rows(scale: float, repeats: int) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    count, block = int(3_530 * scale), 2048
    numbers = torch.randint(-127, 128, (count + block, DIM), generator=generator)
    calls = {}
    for kind, multiply in ((torch.float32, torch.mm), (torch.int8, torch._int_mm)):
        left, right = numbers[:count].to(kind), numbers[count:].to(kind)
        out = torch.empty(count, block, dtype=torch.int32 if kind == torch.int8 else kind)
        calls[str(kind).removeprefix("torch.")] = partial(repeated, multiply, left, right.T, out)
    samples = measure(calls, repeats=repeats)
    value = f"{count} x {32 * block}"
    return rows_of(samples, name="product", mode="full", axis="rows", value=value)


def repeated(multiply, left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
    for _ in range(32):
        multiply(left, right, out=out)


def our_nearest(probes: torch.Tensor, gallery: torch.Tensor, products: str) -> torch.Tensor:
    return search_topk(probes, gallery, 1, products=products).rows


def faiss_nearest(index, probes: Floats) -> torch.Tensor:
    return torch.from_numpy(index.search(probes, 1)[1])


def faiss_or_none():
    try:
        faiss = importlib.import_module("faiss")
    except ImportError:
        return None
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss


TOPICS = {
    "ijb": ijb_rows,
    "ijb_bootstrap": bootstrap_rows,
    "one_to_many": one_to_many_rows,
    "folds": fold_rows,
    "megaface": megaface_rows,
    "product": product_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", choices=TOPICS, default=list(TOPICS))
    parser.add_argument("--out", default=str(RESULTS / "protocols_cpu_202611.csv"))
    options = parser.parse_args()
    for topic in options.only:
        print(f"{topic} ...", flush=True)
        begun = time.perf_counter()
        rows = TOPICS[topic](options.scale, options.repeats)
        show(rows)
        replace_rows(Path(options.out), rows)
        print(f"{topic} took {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
