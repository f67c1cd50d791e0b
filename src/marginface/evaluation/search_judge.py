"""What searches say, as parts of a record: CMC, FNIR at FPIR and open-set curves, with intervals.

Intervals draw the people of the probes with replacement: all searches with pictures of one person
stand or fall together. The galleries stay as they are: one of drawn people would hold 63 % of them,
some several times, and be easier to search than the one that is asked about.

Source: as `identification` and `bootstrap`.
Differs: nothing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import UndefinedRateError
from marginface.evaluation.bootstrap import percentile_ends
from marginface.evaluation.curves import outline, thin
from marginface.evaluation.gallery_search import Searches
from marginface.evaluation.identification import (
    FPIR_TARGETS,
    RANKS,
    RULES,
    fnir_at_fpir,
    fnir_draws,
)
from marginface.evaluation.judge import FEW_IDENTITIES
from marginface.evaluation.means import identity_share, share_interval
from marginface.evaluation.verification import COUNT_NUDGE, RULE_OF_30, least_pairs

# The last rank of a CMC curve.
LAST_RANK = 100
# Weights of probes drawn together: 8 MiB of float32.
BLOCK = 1 << 21

Codes = NDArray[np.int64]
Point = dict[str, Any]


def judge_searches(
    searches: Mapping[str, Searches],
    people: ArrayLike,
    *,
    ranks: Sequence[int] = RANKS,
    fpir_targets: Sequence[float] = FPIR_TARGETS,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Measure searches of the same probes in one or several galleries.

    Args:
        searches: By the gallery's name, from `search_gallery`.
        people: Who is on each probe, whole numbers or names, shape (probes,).
        ranks: Of the CMC, over the searches in all galleries.
        fpir_targets: FPIR targets, fractions in (0, 1).
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap; 0 leaves the intervals out.

    Returns:
        Keys `cmc` (rank to value, low, high), `cmc_curve`, `fnir_at_fpir` (points by rule, gallery
        and target), `mean_fnir` (over several galleries), `open_set_curves`, `refused`, `cautions`,
        `bootstrap`.
        The rule newer reproduces public digits and has no interval.

    Raises:
        UndefinedRateError: If no probe is mated in any gallery.
    """
    codes = np.unique(np.asarray(people), return_inverse=True)[1].astype(np.int64)
    points, refused = _points(searches, fpir_targets)
    asked = sorted({point["target"] for point in points if point["rule"] == "iso"})
    drawn = _draws(searches, asked, codes, seed=seed, resamples=resamples)
    for point in points:
        found = [drawn[point["gallery"], point["target"]]] if point["rule"] == "iso" else []
        mated = searches[point["gallery"]].is_mated
        point |= _ends(point["fnir"], found, people=np.unique(codes[mated]).size)
    record: dict[str, Any] = {
        "cmc": _cmc(searches, codes, ranks, seed=seed, resamples=resamples),
        "cmc_curve": cmc_curve(searches),
        "fnir_at_fpir": points,
        "open_set_curves": open_set_curves(searches),
        "refused": refused,
        "cautions": {},
        "bootstrap": {"over": "identities of probes", "seed": seed, "resamples": resamples},
    }
    if len(searches) > 1:
        record["mean_fnir"] = _means(points, drawn, people=np.unique(codes).size)
    if (count := np.unique(codes).size) < FEW_IDENTITIES:
        record["cautions"]["intervals"] = f"drawn from {count} identities only; take them as rough"
    return record


def cmc_curve(searches: Mapping[str, Searches]) -> dict[str, list[float]]:
    """Return the ranks up to 100 at which the share found rises, and the shares: {"rank", "tpir"}.

    Both ends stand in it; drawn as steps it is the whole curve.
    """
    found = np.concatenate([one.rank[one.is_mated] for one in searches.values()])
    last = min(LAST_RANK, max(one.gallery for one in searches.values()))
    hits = np.bincount(found.clip(max=last + 1), minlength=last + 2)[1 : last + 1]
    ranks = np.unique([1, *(1 + np.flatnonzero(hits)).tolist(), last])
    shares = np.cumsum(hits)[ranks - 1] / found.size
    return {"rank": ranks.tolist(), "tpir": shares.tolist()}


def open_set_curves(searches: Mapping[str, Searches]) -> list[dict[str, Any]]:
    """Return FNIR (any rank) against FPIR over all thresholds, thinned, for each gallery.

    Galleries in which every probe is mated, or none, have no such curve and are left out.
    """
    curves = []
    for name, one in searches.items():
        if one.is_mated.any() and not one.is_mated.all():
            # A mated search finds its person, or a stranger's raises an alarm, at the same scores
            # as pairs match; so this is the DET of these two.
            curve = thin(outline(one.own[one.is_mated], one.other[~one.is_mated]))
            fpir, fnir = curve.fmr.tolist(), curve.fnmr.tolist()
            curves.append({"gallery": name, "fpir": fpir, "fnir": fnir})
    return curves


def _points(
    searches: Mapping[str, Searches], targets: Sequence[float]
) -> tuple[list[Point], dict[str, str]]:
    points, refused = [], {}
    for rule in RULES[:2]:
        for name, one in searches.items():
            for target in targets:
                try:
                    point = fnir_at_fpir(one, target, rule=rule)
                except UndefinedRateError as reason:
                    refused[f"rule {rule}, gallery {name}, FPIR {target:g}"] = str(reason)
                    continue
                points.append({"gallery": name, **point.as_dict(), **_caution(target, one)})
    return points, refused


def _caution(target: float, searches: Searches) -> dict[str, str]:
    strangers = int((~searches.is_mated).sum())
    allowed = math.floor(target * strangers + COUNT_NUDGE)
    if allowed >= RULE_OF_30:
        return {}
    needed = least_pairs(target, errors=RULE_OF_30)
    return {
        "caution": f"the threshold rests on {allowed} alarms of {strangers:,} non-mated searches; "
        f"the rule of 30 asks for {needed:,}"
    }


def _cmc(
    searches: Mapping[str, Searches],
    codes: Codes,
    ranks: Sequence[int],
    *,
    seed: int,
    resamples: int,
) -> dict[str, dict[str, float]]:
    person = np.concatenate([codes[one.is_mated] for one in searches.values()])
    found = np.concatenate([one.rank[one.is_mated] for one in searches.values()])
    if found.size == 0:
        raise UndefinedRateError("CMC needs probes of enrolled people, got none")
    trials = np.bincount(person)
    shares = {}
    for rank in ranks:
        hits = np.bincount(person, found <= rank)
        share = identity_share(hits, trials, seed=seed, resamples=max(resamples, 1))
        shares[str(rank)] = share.as_dict() if resamples else {"value": share.value}
    return shares


def _draws(
    searches: Mapping[str, Searches],
    targets: Sequence[float],
    codes: Codes,
    *,
    seed: int,
    resamples: int,
) -> dict[tuple[str, float], NDArray[np.float64]]:
    """Return FNIR in every resample by gallery and target; all of them see the same draws."""
    rng = np.random.default_rng(seed)
    people = int(codes.max()) + 1
    even = np.full(people, 1 / people)
    drawn: dict[tuple[str, float], list[NDArray[np.float64]]] = {
        (name, target): [] for name in searches for target in targets
    }
    rows = max(1, BLOCK // codes.size)
    for start in range(0, resamples if targets else 0, rows):
        counts = rng.multinomial(people, even, size=min(rows, resamples - start))
        weights = counts.astype(np.float32)[:, codes]
        for (name, target), found in drawn.items():
            found.append(fnir_draws(searches[name], target, weights))
    return {key: np.concatenate([np.empty(0), *found]) for key, found in drawn.items()}


def _ends(value: float, drawn: Sequence[NDArray[np.float64]], *, people: int) -> dict[str, float]:
    """Return low and high of a rate, or of the mean of rates; nothing where nothing was drawn."""
    if not drawn or not np.isfinite(mean := np.mean(drawn, axis=0)).any():
        return {}
    interval = share_interval(value, percentile_ends(mean), people=people)
    return {"low": interval.low, "high": interval.high}


def _means(
    points: Sequence[Point],
    drawn: Mapping[tuple[str, float], NDArray[np.float64]],
    *,
    people: int,
) -> list[dict[str, Any]]:
    """Return the mean FNIR over the galleries per rule and target, "iso" with its interval."""
    means = []
    for rule, target in sorted({(point["rule"], point["target"]) for point in points}):
        mine = [p for p in points if (p["rule"], p["target"]) == (rule, target)]
        value = float(np.mean([point["fnir"] for point in mine]))
        found = [drawn[p["gallery"], target] for p in mine] if rule == "iso" else []
        row = {"rule": rule, "target": target, "fnir": value}
        means.append({**row, **_ends(value, found, people=people)})
    return means
