"""Many runs under equal conditions, judged together on people none of them has seen.

    plan → runs (loss × seed) → scores of every pair → record with intervals → page

Every result is a file, written in one step, so a comparison that was cut goes on where it was.
"""

from marginface.comparison.grouped import judge_models_in_groups
from marginface.comparison.plan import ComparisonPlan
from marginface.comparison.runs import usual_jobs
from marginface.comparison.scoring import read_scores
from marginface.comparison.study import compare_losses

__all__ = [
    "ComparisonPlan",
    "compare_losses",
    "judge_models_in_groups",
    "read_scores",
    "usual_jobs",
]
