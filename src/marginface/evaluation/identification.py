"""One-to-many identification: is the right person found, and is a stranger left alone.

A probe is compared with every gallery entry. It is *mated* if its person is enrolled.
    rank      = 1 + entries of other people with score >= the best of the own person
    CMC(k)    = share of mated probes with rank <= k
    FPIR(t)   = share of non-mated probes with any entry >= t
    FNIR(t,k) = share of mated probes whose own entry is < t or of rank > k;  DIR = 1 - FNIR
A tie with a stranger counts against the system. A probe or entry without a face scores -inf: mated,
it is never found; non-mated, it raises no alarm.

Threshold rules for FNIR at a target FPIR, named in the records:
    iso     the lowest threshold whose FPIR does not exceed the target; each gallery alone.
    newer   public IJB code since 2020: each gallery alone; the score at place
            max(int(f · n) - 1, 0) of the n non-mated probes' best, descending; above it, and of
            rank 1, a mated probe is found.
    older   public IJB code before: both galleries together, so that every probe is mated; the
            score at place ceil(f · probes) of all scores with other people; above it, whatever the
            rank, a probe is found. Its alarms are comparisons, not searches: no FPIR at all.

Source: ISO/IEC 19795-1 (terms); Grother and Ngan, NIST FRVT part 2; insightface, ijb_1n.py and
    Keras_insightface, ijb_evals.py (the rules only, no code).
Differs: nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import UndefinedRateError, unknown_name
from marginface.evaluation.gallery_search import Searches, entries_by_person, search_gallery
from marginface.evaluation.scores import FAILED
from marginface.evaluation.verification import COUNT_NUDGE

__all__ = [
    "OpenSetPoint",
    "Searches",
    "cmc",
    "fnir_at_fpir",
    "fnir_draws",
    "older_point",
    "older_points",
    "search_gallery",
]

RULES = ("iso", "newer", "older")
FPIR_TARGETS = (1e-1, 1e-2)
RANKS = (1, 5, 10, 20)
Scores = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSetPoint:
    """FNIR at one target FPIR under one rule.

    `fpir` is the share of non-mated searches that raise an alarm at this threshold; None under
    "older", which knows no non-mated search.
    """

    rule: str
    target: float
    threshold: float
    fpir: float | None
    fnir: float
    mated: int
    nonmated: int

    def as_dict(self) -> dict[str, Any]:
        """Return the point in plain types, ready for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def cmc(searches: Searches | Sequence[Searches], ranks: Sequence[int] = RANKS) -> dict[int, float]:
    """Return the share of mated probes found within each rank, over all the galleries' searches.

    Raises:
        UndefinedRateError: If no probe is mated.
    """
    found = np.concatenate([s.rank[s.is_mated] for s in _several(searches)])
    if found.size == 0:
        raise UndefinedRateError("CMC needs probes of enrolled people, got none")
    return {rank: float(np.mean(found <= rank)) for rank in ranks}


def fnir_at_fpir(
    searches: Searches, target: float, *, rule: str = "iso", rank: int | None = None
) -> OpenSetPoint:
    """Measure FNIR at a target FPIR in one gallery.

    Args:
        searches: From `search_gallery`.
        target: FPIR, a fraction in (0, 1).
        rule: "iso" or "newer"; see the module. "older" takes both galleries: `older_point`.
        rank: The own entry must be within this rank; None for any under "iso". "newer" asks for 1.

    Raises:
        UndefinedRateError: If there are no mated or too few non-mated probes.
    """
    if rule not in ("iso", "newer"):
        raise unknown_name("rule", rule, ["iso", "newer"])
    own, ranks = searches.own[searches.is_mated], searches.rank[searches.is_mated]
    best = np.sort(searches.other[~searches.is_mated])
    if own.size == 0:
        raise UndefinedRateError("FNIR needs probes of enrolled people, got none")
    refused = _highest_refused(best, target, rule)
    within = 1 if rule == "newer" else rank
    is_found = own > refused
    if within is not None:
        is_found &= ranks <= within
    above = best.size - np.searchsorted(best, refused, side="right")
    return OpenSetPoint(
        rule=rule,
        target=target,
        threshold=float(np.nextafter(refused, refused.dtype.type(np.inf))),
        fpir=float(above / best.size),
        fnir=float(1 - is_found.mean()),
        mated=own.size,
        nonmated=best.size,
    )


def older_point(
    probes: Scores,
    gallery: Scores,
    targets: Sequence[float] = FPIR_TARGETS,
    *,
    probe_identity: ArrayLike,
    gallery_identity: ArrayLike,
) -> dict[float, OpenSetPoint]:
    """Measure FNIR by the older public rule, in all galleries put together.

    Args:
        probes: Unit rows, shape (probes, dim).
        gallery: Unit rows of all galleries, one entry per person.
        targets: "FPIR" in this rule's sense.
        probe_identity: The person of each probe.
        gallery_identity: The person of each entry.

    Raises:
        ValueError: If a probe's person does not stand in the galleries exactly once.
    """
    asked = np.asarray(probe_identity)
    codes, _, starts = entries_by_person(asked, np.asarray(gallery_identity))
    entries = np.where(codes >= 0, np.diff(starts)[codes], 0)
    if (entries != 1).any():
        row = int(np.argmax(entries != 1))
        raise ValueError(
            f"rule older needs every probe's person in the galleries once, got {entries[row]} "
            f"entries of {asked[row]}"
        )
    searches = search_gallery(
        probes,
        gallery,
        probe_identity=probe_identity,
        gallery_identity=gallery_identity,
        highest=_alarms(max(targets), len(probes)),
    )
    return older_points(searches, targets)


def older_points(
    searches: Searches, targets: Sequence[float] = FPIR_TARGETS
) -> dict[float, OpenSetPoint]:
    """Measure FNIR by the older public rule from searches in which every probe is mated.

    Args:
        searches: From `search_gallery` with all galleries put together, one entry per person, and
            `highest` at least the largest target times the number of probes, rounded up.
        targets: "FPIR" in this rule's sense.

    Raises:
        ValueError: If a probe is not mated, or too few of the highest scores were kept.
    """
    probes = searches.own.size
    if not searches.is_mated.all():
        raise ValueError(
            "rule older needs every probe's person in the galleries once, got "
            f"{int(np.sum(~searches.is_mated)):,} probes of nobody there"
        )
    most = _alarms(max(targets), probes)
    if searches.highest.size < most:
        raise ValueError(
            f"searches must keep the {most:,} highest scores with others for FPIR "
            f"{max(targets):g}, got {searches.highest.size:,}; search with highest={most}"
        )
    points = {}
    for target in targets:
        threshold = searches.highest[-_alarms(target, probes)]
        points[target] = OpenSetPoint(
            rule="older",
            target=target,
            threshold=float(threshold),
            fpir=None,
            fnir=float(1 - np.mean(searches.own > threshold)),
            mated=probes,
            nonmated=0,
        )
    return points


def _alarms(target: float, probes: int) -> int:
    return math.ceil(target * probes)


def fnir_draws(
    searches: Searches, target: float, counts: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return FNIR (rule iso, any rank) where each probe weighs as its person was drawn.

    Args:
        searches: From `search_gallery`.
        target: FPIR, a fraction in (0, 1).
        counts: Weight of each probe in each resample, shape (resamples, probes).

    Returns:
        Shape (resamples,); NaN where a resample holds no mated or no non-mated probe.
    """
    mated, strangers = np.flatnonzero(searches.is_mated), np.flatnonzero(~searches.is_mated)
    strangers = strangers[np.argsort(-searches.other[strangers], kind="stable")]
    mated = mated[np.argsort(-searches.own[mated], kind="stable")]
    best, own = searches.other[strangers], searches.own[mated]
    alarms = np.cumsum(counts[:, strangers], axis=1, dtype=np.float64)
    hits = np.cumsum(counts[:, mated], axis=1, dtype=np.float64)
    hits = np.concatenate([np.zeros((len(hits), 1)), hits], axis=1)
    allowed = target * alarms[:, -1:] + COUNT_NUDGE
    passing = (alarms <= allowed).sum(axis=1)
    refused = np.append(best, FAILED)[passing]
    found = np.take_along_axis(
        hits, (own.size - np.searchsorted(own[::-1], refused, side="right"))[:, None], axis=1
    )[:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        fnir = 1 - found / hits[:, -1]
    return np.where((alarms[:, -1] > 0) & (hits[:, -1] > 0), fnir, np.nan)


def _several(searches: Searches | Sequence[Searches]) -> Sequence[Searches]:
    return [searches] if isinstance(searches, Searches) else searches


def _highest_refused(best: Scores, target: float, rule: str) -> Any:
    """Return the score above which a search returns somebody; `best` ascends."""
    if not 0 < target < 1:
        raise ValueError(f"target must be a fraction in (0, 1), got {target}")
    if best.size == 0:
        raise UndefinedRateError("FPIR needs probes of people who are not enrolled, got none")
    if rule == "newer":
        return best[::-1][max(int(best.size * target) - 1, 0)]
    allowed = math.floor(target * best.size + COUNT_NUDGE)
    if allowed == 0:
        raise UndefinedRateError(
            f"FPIR {target:g} cannot be seen in {best.size:,} non-mated searches; "
            f"give at least {math.ceil(1 / target - COUNT_NUDGE):,}"
        )
    return best[-allowed - 1]
