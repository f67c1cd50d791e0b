"""The results of judging groups as frozen records, ready for JSON."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.evaluation.records import Interval, PairedDifference


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRates:
    """Both error rates of one set of pairs at the common threshold.

    Attributes:
        name: "all", a group, "different groups", or "a × b".
        is_within: Whether both pictures of its pairs are in one group; also true of "all".
        mated, nonmated: How many pairs of each kind.
        false_nonmatches, false_matches: Errors among them; with several runs their mean.
        fnmr, fmr: The rates; None without pairs.
        fnmr_difference, fmr_difference: Rate minus that of all pairs, for a group with pairs.
        people: How many people its pairs show.
        cautions: "fnmr" and "fmr" to the rule that speaks against taking the rate for certain; of
            "different groups" also "a × b" to why the mixtures are not listed.
    """

    name: str
    is_within: bool
    mated: int
    nonmated: int
    false_nonmatches: float
    false_matches: float
    fnmr: Interval | None
    fmr: Interval | None
    fnmr_difference: PairedDifference | None
    fmr_difference: PairedDifference | None
    people: int
    cautions: dict[str, str]

    def rate(self, kind: str) -> Interval | None:
        """Return the rate called "fnmr" or "fmr"."""
        return self.fnmr if kind == "fnmr" else self.fmr

    def as_dict(self) -> dict[str, Any]:
        """Return the fields in plain types, ready for JSON."""
        return {
            "name": self.name,
            "is_within": self.is_within,
            "mated": self.mated,
            "nonmated": self.nonmated,
            "false_nonmatches": self.false_nonmatches,
            "false_matches": self.false_matches,
            "fnmr": self.fnmr.as_dict() if self.fnmr else None,
            "fmr": self.fmr.as_dict() if self.fmr else None,
            "fnmr_minus_all": self.fnmr_difference.as_dict() if self.fnmr_difference else None,
            "fmr_minus_all": self.fmr_difference.as_dict() if self.fmr_difference else None,
            "people": self.people,
            "cautions": dict(self.cautions),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """Rates of all pairs and of every group at one common threshold.

    Attributes:
        rows: All pairs first, then the groups, then mixed pairs.
        target_fmr: Where the threshold was fixed on all pairs; None where it was given.
        thresholds: One a run.
        unlabelled_pairs: Pairs with a picture nobody labelled; in "all" only.
        seed, resamples: Of the bootstrap.
        drawn: "fnmr" and "fmr" in every resample and row, shape (resamples, rows).
        protocol: A digest; equal where records may be compared in pairs.
    """

    rows: tuple[GroupRates, ...]
    target_fmr: float | None
    thresholds: tuple[float, ...]
    unlabelled_pairs: int
    seed: int
    resamples: int
    drawn: dict[str, NDArray[np.float64]] = field(repr=False, compare=False)
    protocol: str = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the record in plain types, ready for JSON."""
        return {
            "rows": [row.as_dict() for row in self.rows],
            "target_fmr": self.target_fmr,
            "thresholds": list(self.thresholds),
            "unlabelled_pairs": self.unlabelled_pairs,
            "counted": "a pair by the group both its pictures are in; other pairs as mixed",
            "bootstrap": {"over": "identities", "seed": self.seed, "resamples": self.resamples},
        }
