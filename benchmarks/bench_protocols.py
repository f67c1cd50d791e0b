"""Benchmark protocols at their published sizes, beside the usual way, on the same made-up features.

`ijb`: pooling, pair scores and rates of IJB-C's shape; the usual way loops over templates, gathers
the rows of 100,000 pairs at a time and takes scikit-learn's `roc_curve`. `ijb_bootstrap`: 1,000
resamples over identities, without a peer. `one_to_many`: 19,593 probes in a gallery of 3,531; the
usual way sorts every row of scores. `folds`: the public ten-fold of 6,000 pairs; the usual way
loops over 400 thresholds and 10 folds. `megaface`: nearest of 200,000 and 1,000,000 distractors,
beside `faiss.IndexFlatIP` where it is installed.

`--scale` shrinks every list, `--only` picks rows.
"""

import argparse
import importlib
import os
from functools import partial

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from harness import RESULTS, Row, measure, rows_of, show, write_rows
from marginface.evaluation.bootstrap import IdentityBootstrap
from marginface.evaluation.identification import search_gallery
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


class Ijb:
    """Faces, templates and pairs of IJB-C's shape: a gallery template a person, and probes."""

    def __init__(self, scale: float, *, is_shuffled: bool) -> None:
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
        probes = np.arange(people, templates)
        chosen = rng.choice(probes, size=mated.size)
        self.first[mated], self.second[mated] = owner[chosen], chosen
        order = rng.permutation(pairs) if is_shuffled else np.argsort(self.first, kind="stable")
        self.first, self.second = self.first[order], self.second[order]
        self.people = owner[self.first], owner[self.second]
        self.is_mated = self.people[0] == self.people[1]


def unit_rows(rng: np.random.Generator, rows: int) -> Floats:
    faces = rng.standard_normal((rows, DIM), dtype=np.float32)
    return faces / np.linalg.norm(faces, axis=1, keepdims=True)


def our_ijb(data: Ijb) -> list[float]:
    templates = pool_templates(data.features, data.template_ids, data.media_ids)
    scores = template_scores(templates, data.first, data.second)
    points, _ = fnmr_at_fmrs(scores[data.is_mated], scores[~data.is_mated])
    return [point.fnmr for point in points.values()]


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


def usual_ijb(data: Ijb) -> list[float]:
    scores = usual_scores(usual_pool(data), data)
    fmr, hit, _ = roc_curve(data.is_mated, scores, drop_intermediate=False)
    nonmated = int((~data.is_mated).sum())
    targets = [target for target in IJB_TARGETS if int(target * nonmated + 1e-9)]
    return [float(1 - hit[fmr <= target + 1e-12].max()) for target in targets]


def ijb_rows(scale: float, repeats: int) -> list[Row]:
    rows = []
    for order in ("grouped", "shuffled"):
        data = Ijb(scale, is_shuffled=order == "shuffled")
        # A float32 score may change places with a neighbour.
        np.testing.assert_allclose(our_ijb(data), usual_ijb(data), atol=1e-3)
        samples = measure(
            {"marginface": lambda d=data: our_ijb(d), "usual way": lambda d=data: usual_ijb(d)},
            repeats=repeats,
        )
        value = f"{len(data.first)} {order}"
        rows += rows_of(samples, name="ijb", mode="full", axis="pairs", value=value)
    return rows


def bootstrap_rows(scale: float, repeats: int) -> list[Row]:
    data = Ijb(scale, is_shuffled=False)
    rng = np.random.default_rng(1)
    scores = rng.standard_normal(len(data.first), dtype=np.float32) + 4 * data.is_mated
    samples = measure(
        {
            "marginface": lambda: judge_many_pairs(
                scores, data.is_mated, first_identity=data.people[0], second_identity=data.people[1]
            )
        },
        repeats=repeats,
        warm_up=0,
    )
    value = f"{len(data.first)} x 1000"
    return rows_of(samples, name="ijb_bootstrap", mode="full", axis="resamples", value=value)


def one_to_many_rows(scale: float, repeats: int) -> list[Row]:
    rng = np.random.default_rng(2)
    people, count = int(3_531 * scale), int(19_593 * scale)
    gallery, owner = unit_rows(rng, people), rng.integers(0, 2 * people, count)
    probes = unit_rows(rng, count)
    probes[owner < people] += gallery[owner[owner < people]]
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)

    def ours() -> Codes:
        found = search_gallery(
            probes, gallery, probe_identity=owner, gallery_identity=np.arange(people)
        )
        return found.rank[found.is_mated]

    def usual() -> Codes:
        similarity = probes @ gallery.T
        order = np.argsort(-similarity)
        mated = np.flatnonzero(owner < people)
        return np.array([1 + int(np.where(order[p] == owner[p])[0][0]) for p in mated])

    np.testing.assert_array_equal(ours(), usual())
    samples = measure({"marginface": ours, "full argsort": usual}, repeats=repeats)
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
    second = np.where(is_mated, first, first + pairs)
    bootstrap = IdentityBootstrap(first, second % (2 * pairs), seed=0, resamples=1000)
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
        if (faiss := faiss_or_none()) is not None:
            index = faiss.IndexFlatIP(DIM)
            index.add(gallery)
            calls["faiss flat"] = partial(faiss_nearest, index, probes)
        answers = [call() for call in calls.values()]
        assert all(torch.equal(answers[0], answer) for answer in answers)
        samples = measure(calls, repeats=repeats, warm_up=0)
        rows += rows_of(
            samples, name="megaface", mode="full", axis="distractors", value=str(distractors)
        )
    return rows


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
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", choices=TOPICS, default=list(TOPICS))
    parser.add_argument("--out", default=str(RESULTS / "protocols_cpu_202611.csv"))
    options = parser.parse_args()
    rows = [row for topic in options.only for row in TOPICS[topic](options.scale, options.repeats)]
    show(rows)
    write_rows(type(RESULTS)(options.out), rows)


if __name__ == "__main__":
    main()
