"""Scores to rates with intervals: NumPy only, a higher score means more alike.

`judge_pairs` is the front door; `compare_pairs` sets two models against each other.
"""

from marginface.evaluation.curves import (
    DetCurve,
    det_curve,
    score_histogram,
    thin,
    worst_errors,
)
from marginface.evaluation.folds import FoldAccuracy, ten_fold_accuracy
from marginface.evaluation.judge import FMR_TARGETS, judge_pairs
from marginface.evaluation.paired import compare_pairs, compare_records
from marginface.evaluation.records import (
    Interval,
    PairedDifference,
    PairRecord,
    fnmr_name,
    is_lower_better,
)
from marginface.evaluation.verification import (
    OperatingPoint,
    auc,
    d_prime,
    eer,
    fnmr_at_fmr,
)

__all__ = [
    "FMR_TARGETS",
    "DetCurve",
    "FoldAccuracy",
    "Interval",
    "OperatingPoint",
    "PairRecord",
    "PairedDifference",
    "auc",
    "compare_pairs",
    "compare_records",
    "d_prime",
    "det_curve",
    "eer",
    "fnmr_at_fmr",
    "fnmr_name",
    "is_lower_better",
    "judge_pairs",
    "score_histogram",
    "ten_fold_accuracy",
    "thin",
    "worst_errors",
]
