"""Scores to rates with intervals: NumPy only, a higher score means more alike.

`judge_pairs` is the front door; `compare_pairs` sets two models against each other.
"""

from marginface.evaluation.correlation import rank_correlation
from marginface.evaluation.curves import (
    DetCurve,
    det_curve,
    score_histogram,
    thin,
    worst_errors,
)
from marginface.evaluation.folds import FoldAccuracy, ten_fold_accuracy
from marginface.evaluation.group_cells import quantile_bins
from marginface.evaluation.group_records import GroupRates, GroupRecord
from marginface.evaluation.groups import compare_groups, judge_groups
from marginface.evaluation.judge import FMR_TARGETS, judge_pairs
from marginface.evaluation.paired import compare_pairs, compare_records
from marginface.evaluation.records import (
    Interval,
    PairedDifference,
    PairRecord,
    fnmr_name,
    is_lower_better,
)
from marginface.evaluation.reject_curves import RejectCurve, oracle_curve, reject_curve
from marginface.evaluation.rejection import RejectionRecord, error_versus_reject
from marginface.evaluation.thresholds import FrozenThreshold, freeze_threshold, rates_at
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
    "FrozenThreshold",
    "GroupRates",
    "GroupRecord",
    "Interval",
    "OperatingPoint",
    "PairRecord",
    "PairedDifference",
    "RejectCurve",
    "RejectionRecord",
    "auc",
    "compare_groups",
    "compare_pairs",
    "compare_records",
    "d_prime",
    "det_curve",
    "eer",
    "error_versus_reject",
    "fnmr_at_fmr",
    "fnmr_name",
    "freeze_threshold",
    "is_lower_better",
    "judge_groups",
    "judge_pairs",
    "oracle_curve",
    "quantile_bins",
    "rank_correlation",
    "rates_at",
    "reject_curve",
    "score_histogram",
    "ten_fold_accuracy",
    "thin",
    "worst_errors",
]
