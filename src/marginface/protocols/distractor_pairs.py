"""Verification against distractors, from the strongest scores alone.

It compares every two pictures of a person (mated) and every probe with every distractor
(non-mated, 3.5 billion at a million distractors). A threshold at FMR 1e-6 needs the strongest few
thousand of these only. Each probe's best come from an exact search; a probe whose last known score
still lies above the threshold may hide more, and is searched deeper until none may.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from marginface.evaluation.bootstrap import percentile_ends
from marginface.evaluation.judge import FEW_IDENTITIES
from marginface.evaluation.means import share_interval
from marginface.evaluation.records import fnmr_name
from marginface.evaluation.scores import FAILED
from marginface.evaluation.thresholds import WeightedRefusal
from marginface.evaluation.verification import COUNT_NUDGE, RULE_OF_30, least_pairs
from marginface.search import search_topk

# More of the strongest scores than the target needs are kept: resamples may need them.
SPARE = 4
# Weights of listed scores drawn together: 8 MiB of float64.
BLOCK = 1 << 20

Rows = NDArray[np.float32]
Codes = NDArray[np.int64]


class DistractorPairs:
    """Mated pairs of probes, and the strongest of all pairs of a probe and a distractor.

    Args:
        probes: Unit rows, zeros where no face was acquired, shape (probes, dim).
        people: Person code from 0 of each probe.
        others: Unit rows of the distractors that were acquired.
        best: Each probe's best scores with them, descending, shape (probes, some).
        distractors: How many there are, those without a face included.
        products: See `search_topk`.
    """

    def __init__(
        self,
        probes: Rows,
        people: Codes,
        others: Rows,
        best: Rows,
        *,
        distractors: int,
        products: str = "float32",
    ) -> None:
        self.acquired = np.flatnonzero(probes.any(axis=1))
        self.probes, self.people, self.others = probes, people, others
        self.depth, self.products = best.shape[1], products
        self.listed = {row: best[row] for row in self.acquired.tolist()}
        self.nonmated = len(probes) * distractors
        self.mated = [_mated_scores(probes[people == who]) for who in range(int(people.max()) + 1)]

    def strongest(self, wanted: int) -> tuple[Rows, Codes]:
        """Return the highest non-mated scores, at least `wanted` or all, and their probes' people.

        They descend. No score above the last one is missing; of those equal to it some may.
        """
        while True:
            scores = np.concatenate([np.empty(0, np.float32), *self.listed.values()])
            last = np.partition(scores, -wanted)[-wanted] if scores.size >= wanted else FAILED
            hiding = [row for row, listed in self.listed.items() if listed[-1] > last]
            if not hiding or self.depth >= len(self.others):
                break
            self.depth = min(8 * self.depth, len(self.others))
            probes, others = torch.from_numpy(self.probes[hiding]), torch.from_numpy(self.others)
            found = search_topk(probes, others, self.depth, products=self.products).scores.numpy()
            self.listed |= dict(zip(hiding, found, strict=True))
        owners = np.repeat(
            self.people[list(self.listed)], [listed.size for listed in self.listed.values()]
        )
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] >= max(last, np.finfo(np.float32).min)]
        return scores[order], owners[order]

    def missed(self, refused: NDArray[np.floating[Any]], counts: NDArray[np.float64]) -> Any:
        """Return FNMR in each resample, given the highest refused score in it.

        Args:
            refused: Shape (resamples,).
            counts: How often each person was drawn, shape (resamples, people).
        """
        sizes = np.array([scores.size for scores in self.mated], dtype=np.float64)
        hits = np.stack([s.size - np.searchsorted(s, refused, side="right") for s in self.mated])
        with np.errstate(invalid="ignore"):
            return 1 - np.einsum("rp,pr->r", counts, hits) / (counts @ sizes)


def distractor_verification(
    pairs: DistractorPairs,
    *,
    fmr_targets: Sequence[float] = (1e-6,),
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Return FNMR at each FMR with intervals over the probes' people, as a record of pairs.

    Args:
        pairs: Who is compared.
        fmr_targets: FMR targets, fractions in (0, 1).
        seed: Seed of the bootstrap; the distractors stay.
        resamples: Draws of the bootstrap; 0 leaves the intervals at the value itself.
    """
    mated = sum(scores.size for scores in pairs.mated)
    several = sum(scores.size > 0 for scores in pairs.mated)
    record: dict[str, Any] = {
        "protocol": "megaface 1:1",
        "metrics": {},
        "refused": {},
        "cautions": {},
        "pairs": {"mated": mated, "nonmated": pairs.nonmated},
        "identities": several,
        "failure_to_acquire": 1 - pairs.acquired.size / len(pairs.probes),
        "bootstrap": {"over": "identities of probes", "seed": seed, "resamples": resamples},
    }
    for target in fmr_targets:
        name, allowed = fnmr_name(target), math.floor(target * pairs.nonmated + COUNT_NUDGE)
        if allowed == 0:
            record["refused"][name] = (
                f"FMR {target:g} cannot be seen in {pairs.nonmated:,} non-mated scores; "
                f"give at least {least_pairs(target):,}"
            )
            continue
        if allowed < RULE_OF_30:
            record["cautions"][name] = (
                f"the threshold rests on {allowed} false matches of {pairs.nonmated:,} non-mated "
                f"pairs; the rule of 30 asks for {least_pairs(target, errors=RULE_OF_30):,} pairs"
            )
        drawn = _drawn(pairs, target, np.ones((1, len(pairs.mated))))
        value = float(drawn[0])
        if resamples:
            drawn = _drawn(pairs, target, _counts(len(pairs.mated), seed, resamples))
        interval = share_interval(value, percentile_ends(drawn), people=several)
        record["metrics"][name] = interval.as_dict()
    if several < FEW_IDENTITIES:
        record["cautions"]["intervals"] = (
            f"drawn from {several} identities only; take them as rough"
        )
    return record


def _drawn(
    pairs: DistractorPairs, target: float, counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return FNMR at the target in each resample, as often as people were drawn."""
    wanted = SPARE * math.floor(target * pairs.nonmated + COUNT_NUDGE) + 1
    probes_of = np.bincount(pairs.people).astype(np.float64)
    total = (counts @ probes_of) * (pairs.nonmated / len(pairs.people))
    while True:
        scores, owners = pairs.strongest(wanted)
        # All scores below the listed ones are one entry, so that weights add up to the total.
        refusal = WeightedRefusal(np.append(scores.astype(np.float64), FAILED), target)
        rows = max(1, BLOCK // (scores.size + 1))
        refused = np.empty(len(counts))
        for start in range(0, len(counts), rows):
            part = slice(start, start + rows)
            weights = counts[part][:, owners]
            rest = total[part] - weights.sum(axis=1)
            refused[part] = refusal.measure(np.concatenate([weights, rest[:, None]], axis=1))
        if np.isfinite(refused).all() or scores.size < wanted:
            return np.asarray(pairs.missed(refused, counts), dtype=np.float64)
        wanted *= SPARE


def _counts(people: int, seed: int, resamples: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return rng.multinomial(people, np.full(people, 1 / people), size=resamples).astype(np.float64)


def scores_within(rows: Rows) -> Rows:
    """Return the scores of a person's pictures with each other; -inf where one has no face."""
    wide = rows.astype(np.float64)
    scores = (wide @ wide.T).astype(np.float32)
    # A face that was not acquired is found by nobody and finds nobody.
    gone: NDArray[np.bool_] = np.asarray(~rows.any(axis=1))
    scores[gone] = scores[:, gone] = FAILED
    return scores


def _mated_scores(rows: Rows) -> Rows:
    """Return the scores of every two pictures of a person, ascending."""
    return np.sort(scores_within(rows)[np.triu_indices(len(rows), 1)])
