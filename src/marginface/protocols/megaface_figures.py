"""What MegaFace says of features: identification among distractors, verification against them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from marginface.evaluation.judge import FEW_IDENTITIES
from marginface.evaluation.means import identity_share
from marginface.protocols.distractor_pairs import (
    DistractorPairs,
    distractor_verification,
    scores_within,
)
from marginface.protocols.galleries import MegaFaceLists
from marginface.protocols.pair_figures import unit_rows
from marginface.search import search_topk

SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)

Features = NDArray[np.floating[Any]]


def megaface_record(
    lists: MegaFaceLists,
    features: Features,
    *,
    ranks: Sequence[int] = (1, 10),
    sizes: Sequence[int] = SIZES,
    fmr_targets: Sequence[float] = (1e-6,),
    products: str = "float32",
    removed: dict[str, int] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Identify and verify as MegaFace does, each picture of a person for each other one of hers.

    For an ordered pair (probe, mate) of one person, the gallery is the mate and the distractors;
    rank = 1 + distractors whose score reaches the mate's. Smaller sizes are the first distractors
    of the list.

    Args:
        lists: From `megaface_lists`.
        features: One row for each of `lists.pictures`.
        ranks: Of the CMC.
        sizes: Numbers of distractors; those above the list's length are left out.
        fmr_targets: Of the verification: every two pictures of a person, and every probe with every
            distractor.
        products: See `search_topk`; changes the speed only.
        removed: How many noises were taken out, for the record.
        seed: Seed of the bootstrap over the probes' people; the distractors stay.
        resamples: Draws of the bootstrap; 0 leaves the intervals out.
    """
    if len(features) != len(lists.pictures):
        raise ValueError(
            f"features must hold one row for each of {len(lists.pictures):,} pictures, "
            f"got shape {features.shape}"
        )
    count = len(lists.probes)
    probes = unit_rows(features[:count], count).astype(np.float32)
    others = _unit_in_place(np.array(features[count:], dtype=np.float32))
    sizes = sorted({size for size in sizes if size < len(others)} | {len(others)})
    people = np.unique(lists.people, return_inverse=True)[1]
    shares = []
    best = np.full((count, max(ranks)), -np.inf, dtype=np.float32)
    done = 0
    for size in sizes:
        part = torch.from_numpy(others[done:size])
        found = search_topk(torch.from_numpy(probes), part, max(ranks), products=products)
        best = -np.sort(-np.concatenate([best, found.scores.numpy()], axis=1))[:, : max(ranks)]
        done = size
        cmc = _shares(_hits(probes, people, best, ranks), people, seed=seed, resamples=resamples)
        shares.append({"distractors": size, "cmc": cmc})
    against = DistractorPairs(
        probes, people, others, best, distractors=len(lists.distractors), products=products
    )
    several = int((np.bincount(people) > 1).sum())
    few = f"drawn from {several} identities only; take them as rough"
    return {
        "protocol": "megaface",
        "identification": shares,
        "verification": distractor_verification(
            against, fmr_targets=fmr_targets, seed=seed, resamples=resamples
        ),
        "probes": count,
        "pairs": int((np.bincount(people) * (np.bincount(people) - 1)).sum()),
        "noises_removed": removed or {"probes": 0, "distractors": 0},
        "cautions": {"intervals": few} if several < FEW_IDENTITIES else {},
        "bootstrap": {"over": "identities of probes", "seed": seed, "resamples": resamples},
        "failure_to_acquire": float((~probes.any(axis=1)).mean()),
    }


def _shares(
    hits: dict[int, NDArray[np.int64]], people: NDArray[np.int64], *, seed: int, resamples: int
) -> dict[str, dict[str, float]]:
    """Return the share of (probe, mate) pairs found within each rank, with its interval."""
    counts = np.bincount(people)
    shares = {}
    for rank, mine in hits.items():
        share = identity_share(mine, counts * (counts - 1), seed=seed, resamples=max(resamples, 1))
        shares[str(rank)] = share.as_dict() if resamples else {"value": share.value}
    return shares


def _hits(
    probes: NDArray[np.float32],
    people: NDArray[np.int64],
    best: NDArray[np.float32],
    ranks: Sequence[int],
) -> dict[int, NDArray[np.int64]]:
    """Return for each rank how many (probe, mate) pairs of each person are found within it."""
    order = np.argsort(people, kind="stable")
    ends = np.cumsum(np.bincount(people))
    hits = {rank: np.zeros(ends.size, dtype=np.int64) for rank in ranks}
    for person, (start, stop) in enumerate(zip(np.append(0, ends), ends, strict=False)):
        rows = order[start:stop]
        scores = scores_within(probes[rows])
        for rank in ranks:
            # Found within the rank: fewer than `rank` distractors reach the mate's score.
            is_found = scores > best[rows, rank - 1][:, None]
            np.fill_diagonal(is_found, val=False)
            hits[rank][person] = is_found.sum()
    return hits


def _unit_in_place(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64)).astype(np.float32)
    if not np.isfinite(lengths).all():
        row = int(np.argmin(np.isfinite(lengths)))
        raise ValueError(f"features must be finite, got NaN or infinity in distractor {row}")
    rows /= np.where(lengths == 0, 1, lengths)[:, None]
    # A distractor without a face can be mistaken for nobody.
    return rows if lengths.all() else rows[lengths > 0]
