"""How numbers and verdicts are put into words: names, percent, signs, plain explanations.

Everything below this room speaks in fractions; here, and only here, they become percent. A
difference of two percentages is given in points.
"""

from collections.abc import Mapping
from typing import Any

from marginface.evaluation import is_lower_better
from marginface.evaluation.records import FNMR_PREFIX

NO_DIFFERENCE = "no difference shown"
# The order of the tables; FNMR at each target follows, strictest last.
ORDER = ("accuracy", "eer", "auc", "d_prime")

_TITLES = {"accuracy": "Accuracy", "eer": "EER", "auc": "AUC", "d_prime": "d′"}
_MEANINGS = {
    "accuracy": (
        "Of all pairs, the share decided rightly, same person or not. The list is in parts "
        "(folds); for each the threshold is the one that does best on the others, so nothing is "
        "tuned on the pairs it is judged by. Guessing gives 50 %."
    ),
    "eer": (
        "Equal error rate: move the threshold until refusing the right person is as frequent as "
        "accepting a wrong one; that common rate. Guessing gives 50 %."
    ),
    "auc": (
        "Area under the ROC curve: how often a pair of the same person scores higher than a pair "
        "of two people, both picked at random. 1 is perfect, 0.5 is guessing."
    ),
    "d_prime": (
        "How far the two clouds of scores lie apart, in units of their own width. 0 is no "
        "separation, about 4 is a good system."
    ),
}


def ordered_metrics(names: Any) -> list[str]:
    """Return metric names in reading order: the known ones, then FNMR from lax to strict.

    Example:
        >>> ordered_metrics(["fnmr_at_fmr_0.01", "eer", "fnmr_at_fmr_0.1", "accuracy"])
        ['accuracy', 'eer', 'fnmr_at_fmr_0.1', 'fnmr_at_fmr_0.01']
    """
    present = set(names)
    rates = [name for name in present if name.startswith(FNMR_PREFIX)]
    rest = sorted(present - set(ORDER) - set(rates))
    known = [name for name in ORDER if name in present]
    return [*known, *sorted(rates, key=_target, reverse=True), *rest]


def title(metric: str) -> str:
    """Return the metric's name as a heading; the percent sign stays with its number.

    Example:
        >>> title("fnmr_at_fmr_0.001").split()
        ['FNMR', 'at', 'FMR', '0.1', '%']
    """
    if metric.startswith(FNMR_PREFIX):
        return f"FNMR at FMR {100 * _target(metric):g}\N{NO-BREAK SPACE}%"
    return _TITLES.get(metric, metric)


def meaning(metric: str) -> str:
    """Explain the metric to somebody who meets it for the first time."""
    if metric.startswith(FNMR_PREFIX):
        return (
            "How often the right person is refused when the threshold is so strict that at most "
            f"{100 * _target(metric):g} % of pairs of two people are accepted. In papers: 1 − TAR "
            "at that FAR."
        )
    return _MEANINGS.get(metric, "")


def is_percent(metric: str) -> bool:
    """Tell whether the metric is a share, shown in percent."""
    return metric in ("accuracy", "eer") or metric.startswith(FNMR_PREFIX)


def number(metric: str, value: float) -> str:
    """Write a value without its unit.

    Example:
        >>> number("accuracy", 0.8431), number("auc", 0.91234), number("d_prime", -2.5)
        ('84.31', '0.912', '−2.50')
    """
    digits = 3 if metric == "auc" else 2
    return f"{100 * value if is_percent(metric) else value:.{digits}f}".replace("-", "−")


def value_words(metric: str, interval: Mapping[str, Any]) -> str:
    """Write a value with its unit.

    Example:
        >>> value_words("eer", {"value": 0.125, "low": 0.1, "high": 0.2})
        '12.50 %'
    """
    return number(metric, interval["value"]) + (" %" if is_percent(metric) else "")


def percent_words(share: float) -> str:
    """Write a share in percent; one too small for two decimals keeps two digits that count.

    Example:
        >>> percent_words(0.125), percent_words(0.00001), percent_words(0.0)
        ('12.50 %', '0.001 %', '0.00 %')
    """
    percent = 100 * share
    return f"{percent:.2g} %" if 0 < percent < 0.1 else f"{percent:.2f} %"


def interval_words(metric: str, interval: Mapping[str, Any]) -> str:
    """Write the ends of an interval.

    Example:
        >>> interval_words("eer", {"value": 0.125, "low": 0.1, "high": 0.2})
        '[10.00, 20.00]'
    """
    return f"[{number(metric, interval['low'])}, {number(metric, interval['high'])}]"


def difference_words(metric: str, difference: Mapping[str, Any]) -> str:
    """Write a difference with its interval, signs shown; differences of percents are points.

    Example:
        >>> difference_words("eer", {"value": -0.02, "low": -0.03, "high": 0.0})
        '−2.00 [−3.00, 0.00]'
    """
    value, low, high = (signed(metric, difference[end]) for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def difference_parts(metric: str, difference: Mapping[str, Any]) -> tuple[str, str]:
    """Write a difference and its interval apart, for cells that are narrow."""
    value, ends = difference_words(metric, difference).split(" ", 1)
    return value, ends


def signed(metric: str, value: float) -> str:
    """Write a difference with its sign; what rounds to zero has none.

    Example:
        >>> signed("accuracy", 0.021), signed("accuracy", -0.00001)
        ('+2.10', '0.00')
    """
    text = number(metric, abs(value))
    if float(text) == 0:
        return text
    return ("+" if value > 0 else "−") + text


def signed_points(difference: float) -> str:
    """Write a difference of two shares in points, to three decimals, as published tables go.

    Example:
        >>> signed_points(-0.0005), signed_points(0.0)
        ('−0.050', '0.000')
    """
    text = f"{100 * difference:+.3f}"
    return "0.000" if float(text) == 0 else text.replace("-", "−")


def verdict(metric: str, difference: Mapping[str, Any] | None) -> str:
    """Say what a paired difference shows: better, worse, or no difference shown.

    Example:
        >>> verdict("eer", {"value": -0.02, "low": -0.03, "high": -0.01, "is_shown": True})
        'better'
    """
    if difference is None:
        return ""
    if not difference["is_shown"]:
        return NO_DIFFERENCE
    return "better" if (difference["value"] < 0) == is_lower_better(metric) else "worse"


def model_words(model: Any) -> str:
    """Name a model given as a name or as a mapping that holds one."""
    if isinstance(model, Mapping):
        return str(model.get("name") or model.get("path") or "this model")
    return str(model or "this model")


def _target(metric: str) -> float:
    return float(metric.removeprefix(FNMR_PREFIX))
