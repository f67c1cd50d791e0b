"""Error rates of groups at one common threshold, and how far apart they are.

    a group's FNMR  = of mated pairs with both pictures in the group, share below the threshold
    a group's FMR   = of non-mated pairs with both pictures in the group, share at or above it

A pair whose two pictures are in different groups belongs to neither: it is counted, mated or not,
under "different groups" and, with up to 12 groups, under its own cell "a × b". A pair with a
picture nobody labelled is in no cell but in "all". The threshold is one for all: either given, or
fixed on all pairs at an FMR target, then fixed again in every resample; so fixed, the FMR of all
pairs is what was asked for, and its interval says only how closely it can be met. Groups are what
the caller says they are; nothing is guessed from pictures.

Two rules speak about small groups. Rule of 3: no error among n pairs still allows a rate of 3/n.
Rule of 30: fewer than 30 errors, and the true rate may lie more than 30 % off. Both take pairs for
independent, which pairs of few people are not; the intervals draw people.

Source: ISO/IEC 19795-10:2024 (performance across demographic groups: one threshold, rates by
    group, with uncertainty); Doddington et al., "The NIST speaker recognition evaluation", 2000
    (rule of 30); Hanley and Lippman-Hand, JAMA 1983 (rule of 3).
Differs: nothing.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.evaluation.bootstrap import (
    IdentityBootstrap,
    draw_runs,
    percentile_ends,
    unseen_rate,
)
from marginface.evaluation.group_cells import MIXTURE, Cell, make_cells
from marginface.evaluation.group_records import GroupRates, GroupRecord
from marginface.evaluation.judge import check_people
from marginface.evaluation.records import Interval, PairedDifference
from marginface.evaluation.scores import check_flags, split_scores, with_failures
from marginface.evaluation.thresholds import RULE_OF_3, WeightedRefusal
from marginface.evaluation.verification import RULE_OF_30, fnmr_at_fmr

Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]
KINDS = ("fnmr", "fmr")


def judge_groups(
    scores: ArrayLike | Sequence[ArrayLike],
    is_mated: ArrayLike,
    *,
    first_identity: ArrayLike,
    second_identity: ArrayLike,
    first_group: ArrayLike,
    second_group: ArrayLike,
    order: Sequence[str] | None = None,
    target_fmr: float = 0.01,
    threshold: float | None = None,
    seed: int = 0,
    resamples: int = 1000,
    failed: ArrayLike | None = None,
) -> GroupRecord:
    """Measure FMR and FNMR of each group at one common threshold, with 95 % intervals.

    Args:
        scores: Higher is more alike; shape (pairs,), or (runs, pairs) for several runs, of which
            each has a threshold of its own and the rates are averaged.
        is_mated: True for same-person pairs, shape (pairs,).
        first_identity: The person on each first picture, any names or numbers.
        second_identity: The person on each second picture.
        first_group: The group of each first picture, text; "" where nobody labelled it.
        second_group: The group of each second picture. For labels of pairs, give them twice.
        order: The groups in the order of the record; sorted by default.
        target_fmr: Where the threshold is fixed on all pairs, unless `threshold` is given.
        threshold: One that was fixed elsewhere.
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap.
        failed: As in `judge_pairs`; a failed pair matches at no threshold.

    Raises:
        ValueError: If shapes differ, scores are not finite, `order` lacks a group, or there are
            more than 250.
        UndefinedRateError: If a kind of pairs is absent, or too few are there for the target.
    """
    runs = with_failures("scores", scores, failed)
    flags = check_flags("is_mated", is_mated, runs.shape[1])
    people = check_people(flags, first_identity, second_identity)
    split_scores(runs[0], flags)
    cells = make_cells(first_group, second_group, flags.size, order)
    bootstrap = IdentityBootstrap(*people, seed=seed, resamples=resamples)
    refused = [_refused(run[~flags], target_fmr, threshold) for run in runs]
    thresholds = [_threshold(run, flags, target_fmr, threshold) for run in runs]
    drawn = _draw(runs, flags, cells, bootstrap, refused)
    errors = ((runs >= np.array(thresholds)[:, None]) != flags).mean(axis=0)
    rows = [_row(cell, index, errors, flags, people, drawn) for index, cell in enumerate(cells)]
    fixed_at = target_fmr if threshold is None else None
    digest = hashlib.sha256(f"{seed} {resamples} {fixed_at}".encode())
    for part in (flags, *people, *(cell.pairs for cell in cells)):
        digest.update(np.ascontiguousarray(part).tobytes())
    return GroupRecord(
        rows=tuple(rows),
        target_fmr=fixed_at,
        thresholds=tuple(thresholds),
        unlabelled_pairs=int(
            cells[0].pairs.sum() - np.any([c.pairs for c in cells[1:]], axis=0).sum()
        ),
        seed=seed,
        resamples=resamples,
        drawn=drawn,
        protocol=digest.hexdigest(),
    )


def compare_groups(a: GroupRecord, b: GroupRecord) -> dict[str, dict[str, PairedDifference]]:
    """Return a minus b for both rates of every cell both can measure, under the shared draws.

    Each model stands at its own common threshold, so two score scales do not matter.

    Raises:
        ValueError: If the records rest on other pairs, people, groups, seeds or draws.
    """
    if a.protocol != b.protocol:
        raise ValueError(
            "records must rest on the same pairs, people, groups, seed and resamples, got "
            f"protocols {a.protocol[:8]} and {b.protocol[:8]}"
        )
    differences: dict[str, dict[str, PairedDifference]] = {}
    for index, (one, other) in enumerate(zip(a.rows, b.rows, strict=True)):
        differences[one.name] = {}
        for kind in KINDS:
            rates = one.rate(kind), other.rate(kind)
            if rates[0] is not None and rates[1] is not None:
                low, high = _ends(a.drawn[kind][:, index] - b.drawn[kind][:, index])
                value = rates[0].value - rates[1].value
                differences[one.name][kind] = PairedDifference(value=value, low=low, high=high)
    return differences


def _threshold(run: Scores, flags: Flags, target_fmr: float, given: float | None) -> float:
    if given is not None:
        return given
    return fnmr_at_fmr(run[flags], run[~flags], target_fmr=target_fmr).threshold


def _refused(
    nonmated: Scores, target_fmr: float, given: float | None
) -> Callable[[Scores], Scores]:
    """Return what gives the highest score that does not match, for each weighting of `nonmated`."""
    if given is None:
        return WeightedRefusal(nonmated, target_fmr).measure
    below = np.nextafter(given, -np.inf)
    return lambda weights: np.full(len(weights), below)


def _draw(
    runs: Scores,
    flags: Flags,
    cells: list[Cell],
    bootstrap: IdentityBootstrap,
    refused: list[Callable[[Scores], Scores]],
) -> dict[str, Scores]:
    """Return each rate in each resample and cell, shape (resamples, cells); NaN without pairs."""
    kinds = {"fnmr": flags, "fmr": ~flags}
    members = {
        name: np.stack([cell.pairs[kind] for cell in cells], axis=1).astype(np.float64)
        for name, kind in kinds.items()
    }
    blocks: dict[str, list[Scores]] = {name: [] for name in kinds}
    for weights in bootstrap.blocks():
        rates: dict[str, list[Scores]] = {name: [] for name in kinds}
        for run, highest in zip(runs, refused, strict=True):
            limit = highest(weights[:, ~flags])[:, None]
            for name, kind in kinds.items():
                is_match = run[kind] > limit
                is_error = is_match if name == "fmr" else ~is_match
                with np.errstate(invalid="ignore", divide="ignore"):
                    rates[name].append(
                        (weights[:, kind] * is_error)
                        @ members[name]
                        / (weights[:, kind] @ members[name])
                    )
        for name, by_run in rates.items():
            blocks[name].append(np.stack(by_run, axis=1))
    chosen = draw_runs(len(runs), seed=bootstrap.seed, resamples=bootstrap.resamples)
    return {
        name: np.take_along_axis(np.concatenate(parts), chosen[:, :, None], axis=1).mean(axis=1)
        for name, parts in blocks.items()
    }


def _row(
    cell: Cell,
    index: int,
    errors: Scores,
    flags: Flags,
    people: tuple[NDArray[np.int64], NDArray[np.int64]],
    drawn: dict[str, Scores],
) -> GroupRates:
    rates: dict[str, Interval | None] = {}
    cautions: dict[str, str] = {}
    counts: dict[str, float] = {}
    differences: dict[str, PairedDifference | None] = {}
    for kind, side in (("fnmr", cell.pairs & flags), ("fmr", cell.pairs & ~flags)):
        pairs, wrong = int(side.sum()), float(errors[side].sum())
        counts[f"{kind}_pairs"], counts[f"{kind}_errors"] = pairs, wrong
        living = np.unique(np.concatenate([one[side] for one in people])).size
        rates[kind] = _interval(wrong, pairs, living, drawn[kind][:, index]) if pairs else None
        cautions |= _caution(kind, wrong, pairs)
        differences[kind] = None
        if pairs and index and cell.is_within:
            whole = flags if kind == "fnmr" else ~flags
            low, high = _ends(drawn[kind][:, index] - drawn[kind][:, 0])
            value = wrong / pairs - float(errors[whole].mean())
            differences[kind] = PairedDifference(value=value, low=low, high=high)
    if cell.left_out:
        cautions["a" + MIXTURE + "b"] = cell.left_out
    return GroupRates(
        name=cell.name,
        is_within=cell.is_within,
        mated=int(counts["fnmr_pairs"]),
        nonmated=int(counts["fmr_pairs"]),
        false_nonmatches=counts["fnmr_errors"],
        false_matches=counts["fmr_errors"],
        fnmr=rates["fnmr"],
        fmr=rates["fmr"],
        fnmr_difference=differences["fnmr"],
        fmr_difference=differences["fmr"],
        people=np.unique(np.concatenate([one[cell.pairs] for one in people])).size,
        cautions=cautions,
    )


def _ends(differences: Scores) -> tuple[float, float]:
    """Return the middle 95 % of differences of rates; all there is where no draw has such pairs."""
    return percentile_ends(differences) if np.isfinite(differences).any() else (-1.0, 1.0)


def _interval(errors: float, pairs: int, people: int, drawn: Scores) -> Interval:
    value = errors / pairs
    if not np.isfinite(drawn).any():
        return Interval(value=value, low=0.0, high=1.0)
    low, high = percentile_ends(drawn)
    # Nobody erred (or all did), so no draw can do otherwise: say what could have stayed unseen.
    unseen = min(1.0, max(RULE_OF_3 / pairs, unseen_rate(people)))
    if low == high == value == 0:
        high = unseen
    elif low == high == value == 1:
        low = 1 - unseen
    return Interval(value=value, low=low, high=high)


def _caution(kind: str, errors: float, pairs: int) -> dict[str, str]:
    if pairs == 0:
        return {kind: "no pairs"}
    if errors == 0:
        bound = min(1.0, RULE_OF_3 / pairs)
        return {kind: f"rule of 3: no error in {pairs:,} pairs, the true rate may be {bound:.2g}"}
    if errors < RULE_OF_30:
        return {
            kind: f"rule of 30: {errors:g} errors in {pairs:,} pairs, so the true rate may lie "
            "more than 30 of 100 parts off"
        }
    return {}
