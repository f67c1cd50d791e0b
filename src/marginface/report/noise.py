"""What a comparison's runs made of labels that were wrong on purpose, as rows of a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marginface.report.entries import Entry, Record
from marginface.report.words import interval_words, value_words

# Any share is written like this metric: percent with two decimals.
_SHARE = "accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseRow:
    """One run's training pictures; each cell holds a share and its interval, in words.

    Args:
        loss: Name of the loss.
        seed: Of the run.
        by_heart: Of the wrongly labelled, the given class is the nearest.
        seen_through: Of the wrongly labelled, the true class is the nearest.
        learnt: Of the rightly labelled, their class is the nearest.
    """

    loss: str
    seed: int
    by_heart: tuple[str, str]
    seen_through: tuple[str, str]
    learnt: tuple[str, str]


def noise_rows(losses: list[Entry]) -> list[NoiseRow]:
    """Return a row a run, in the order given; none where no label was wrong on purpose."""
    rows = []
    for entry in losses:
        for run in entry.result.get("runs", []):
            groups = run.get("training_pictures", {})
            if "flipped" not in groups or "clean" not in groups:
                continue
            rows.append(
                NoiseRow(
                    loss=entry.name,
                    seed=run["seed"],
                    by_heart=_cell(groups["flipped"]["nearest_is_given"]),
                    seen_through=_cell(groups["flipped"]["nearest_is_true"]),
                    learnt=_cell(groups["clean"]["nearest_is_given"]),
                )
            )
    return rows


def corruption_words(record: Record) -> str:
    """Say how many training pictures were spoilt on purpose; nothing where none was.

    Example:
        >>> spoilt = {"flipped": 108, "damaged": 0}
        >>> corruption_words({"data": {"train": {"images": 360, "corruption": spoilt}}})
        '108 of 360 training pictures had a wrong label on purpose'
    """
    train = record["data"]["train"]
    spoilt: Mapping[str, Any] = train.get("corruption") or {}
    told = [
        f"{spoilt[key]:,} of {train['images']:,} training pictures {words}"
        for key, words in (("flipped", "had a wrong label"), ("damaged", "were damaged"))
        if spoilt.get(key)
    ]
    return f"{' and '.join(told)} on purpose" if told else ""


def _cell(interval: Mapping[str, Any]) -> tuple[str, str]:
    return value_words(_SHARE, interval), interval_words(_SHARE, interval)
