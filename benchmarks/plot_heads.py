"""Draw how time and memory of a step grow with the classes, from the rows of `bench_heads.py`."""

import argparse
import csv
from pathlib import Path

import matplotlib.pyplot as plt

from harness import RESULTS

COLOURS = {
    "plain pytorch": "#888888",
    "pytorch-metric-learning": "#c9a227",
    "dense": "#4477aa",
    "float32": "#228833",
    "float32 in walk": "#cc3311",
}
NAMES = {
    "dense": "marginface, dense",
    "float32": "marginface, streamed",
    "float32 in walk": "marginface, updated in the walk",
}


def points_of(folder: Path) -> dict[tuple[str, str, str], dict[int, float]]:
    """Return identities and medians by variant, metric and batch."""
    points: dict[tuple[str, str, str], dict[int, float]] = {}
    with (folder / "heads_growth_cpu_202611.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            key = (row["variant"], row["metric"], row["axis"])
            points.setdefault(key, {})[int(row["value"])] = float(row["p50"])
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = points_of(arguments.rows)
    figure, axes = plt.subplots(2, 2, figsize=(9.5, 7), sharex=True, layout="constrained")
    for column, batch in enumerate(("128", "512")):
        panels = (
            ("cpu_time", "CPU seconds a step, one core"),
            ("extra_memory", "extra memory, MiB"),
        )
        for line, (metric, label) in enumerate(panels):
            panel = axes[line][column]
            for variant, colour in COLOURS.items():
                points = sorted(rows.get((variant, metric, batch), {}).items())
                if points:
                    name = NAMES.get(variant, variant)
                    panel.plot(*zip(*points, strict=True), "o-", color=colour, label=name, ms=4)
            panel.set(xscale="log", yscale="log", ylabel=label)
            panel.grid(alpha=0.3)
            if line == 0:
                panel.set_title(f"batch {batch}")
            else:
                panel.set_xlabel("identities")
    axes[0][0].legend(frameon=False, fontsize=8)
    figure.savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()
