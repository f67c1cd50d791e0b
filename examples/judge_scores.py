"""Judge the scores of any system: accuracy needs no more than a CSV, and no torch is loaded.

    python examples/judge_scores.py scores.csv [other_scores.csv]

A row is a pair: `first,second,score`, the two people's names and how alike their pictures are;
higher is more alike. With a second file of the same pairs, the difference is measured too.
Without a file, scores are made up.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from marginface.evaluation import PairRecord, compare_records, judge_pairs


def main(paths: list[str]) -> None:
    """Print every metric with its 95 % interval."""
    tables = [read_scores(Path(path)) for path in paths] or [made_up(seed=0), made_up(seed=1)]
    records = [judge(*table) for table in tables]
    for record in records:
        show(record)
    if len(records) == 2:
        for name, apart in compare_records(records[1], records[0]).items():
            verdict = "shown" if apart.is_shown else "no difference shown"
            print(f"{name}: {apart.value:+.4f} [{apart.low:+.4f}, {apart.high:+.4f}] {verdict}")


def read_scores(path: Path) -> tuple[list[str], list[str], list[float]]:
    """Return the people of both sides, and the scores."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return (
        [row["first"] for row in rows],
        [row["second"] for row in rows],
        [float(row["score"]) for row in rows],
    )


def made_up(*, seed: int, people: int = 60, pairs: int = 2000) -> tuple[list[str], ...]:
    """Return scores of a system that does not exist; the people and pairs are always the same."""
    of_people, of_scores = np.random.default_rng(7), np.random.default_rng(seed)
    first = of_people.integers(people, size=pairs)
    shift = of_people.integers(1, people, size=pairs) * (np.arange(pairs) % 2)
    scores = of_scores.normal(np.where(shift == 0, 0.6, 0.1), 0.2)
    names = [f"person {number}" for number in range(people)]
    second = (first + shift) % people
    return [names[row] for row in first], [names[row] for row in second], scores.tolist()


def judge(first: list[str], second: list[str], scores: list[float]) -> PairRecord:
    """Judge one table; who stands on both sides is a mated pair."""
    is_mated = np.array(first) == np.array(second)
    return judge_pairs(
        scores, is_mated, first_identity=first, second_identity=second, fmr_targets=(0.01, 0.1)
    )


def show(record: PairRecord) -> None:
    """Print a record's metrics, what it refuses to say, and its cautions."""
    print(f"{record.pairs['mated']} mated, {record.pairs['nonmated']} non-mated pairs")
    for name, found in record.metrics.items():
        print(f"  {name}: {found.value:.4f} [{found.low:.4f}, {found.high:.4f}]")
    for name, reason in {**record.refused, **record.cautions}.items():
        print(f"  {name}: {reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
