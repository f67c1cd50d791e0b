"""Judge finished comparisons that differ in what was spoilt, or in their length, together.

    python benchmarks/label_noise.py runs/noise-0 runs/noise-0.2 runs/noise-0.4 --pairs pairs.txt \
        --picture label_noise.png

Prints four tables with 95 % intervals over people, all models under the same draws:
    accuracy on unseen people, and the paired difference to the baseline at the same share
    FNMR at FMR 1 %, likewise
    how far each loss falls from the lowest share, and how that fall differs from the baseline's
    cosines of training pictures with true and with wrong labels, as `marginface noise` tells them
With `--against softmax 10` all are set against one loss at one place of the axis too. With several
seeds the runs are drawn too; the last table shows the mean over runs, of the ends too.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from marginface.comparison import read_scores
from marginface.data import PairList, read_pairs
from marginface.evaluation import PairRecord
from marginface.evaluation.bootstrap import percentile_ends
from marginface.recognition.pair_scores import judge_scores

# Okabe and Ito's colours, told apart by colour-blind eyes too, and a marker each.
LOOKS = [
    ("#000000", "o"),
    ("#e69f00", "s"),
    ("#56b4e9", "^"),
    ("#009e73", "D"),
    ("#cc79a7", "v"),
    ("#d55e00", "P"),
    ("#0072b2", "X"),
]
METRICS = {"accuracy": "accuracy", "fnmr_at_fmr_0.01": "FNMR at FMR 1 %"}
HELD = {
    "given_cosine": "cosine with the given class",
    "true_cosine": "cosine with the true class",
    "nearest_is_given": "given class nearest",
    "nearest_is_true": "true class nearest",
}
NEAREST = (("nearest_is_true", "-"), ("nearest_is_given", "--"))
SETTINGS = {
    "label_noise": "data.label_noise",
    "low_quality": "data.low_quality",
    "epochs": "epochs",
}
Study = dict[float, dict[str, Any]]
Judged = dict[float, dict[str, PairRecord]]


def judged_of(record: dict[str, Any], folder: Path, pairs: PairList) -> dict[str, PairRecord]:
    """Judge the kept scores again, which gives every model the same draws."""
    return {
        name: judge_scores(
            [
                read_scores(folder / "runs" / name / f"seed-{run['seed']}" / "scores.npz", pairs)
                for run in told["runs"]
            ],
            resamples=record["settings"]["resamples"],
        )
        for name, told in record["losses"].items()
    }


def change(one: PairRecord, other: PairRecord, metric: str) -> tuple[float, np.ndarray]:
    """Return one minus other, measured and in every draw."""
    if one.protocol != other.protocol:
        raise SystemExit("the comparisons must be judged on the same pairs")
    value = one.metrics[metric].value - other.metrics[metric].value
    return value, one.drawn[metric] - other.drawn[metric]


def points(value: float, drawn: np.ndarray) -> str:
    """Return a difference in points, its interval, and whether it is shown."""
    low, high = percentile_ends(drawn)
    verdict = "" if low > 0 or high < 0 else " n. s."
    return f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]{verdict}"


def percent(interval: Any) -> str:
    return f"{100 * interval.value:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def table(title: str, heads: list[str], rows: list[list[str]]) -> None:
    print(f"\n| {title} | {' | '.join(heads)} |\n| --- |{' ---: |' * len(heads)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def show_levels(judged: Judged, baseline: str, axis: str) -> None:
    for metric, title in METRICS.items():
        rows = []
        for name in judged[min(judged)]:
            row = [name]
            for found in judged.values():
                cell = percent(found[name].metrics[metric])
                if name != baseline:
                    cell += f", {points(*change(found[name], found[baseline], metric))}"
                row.append(cell)
            rows.append(row)
        table(f"{title}, minus {baseline}", [f"{axis} {share:g}" for share in judged], rows)


def show_falls(judged: Judged, baseline: str, axis: str) -> None:
    first, *others = judged
    rows = []
    for name in judged[first]:
        row = [name]
        for share in others:
            value, drawn = change(judged[share][name], judged[first][name], "accuracy")
            base, base_drawn = change(judged[share][baseline], judged[first][baseline], "accuracy")
            cell = points(value, drawn)
            if name != baseline:
                cell += f"; {points(value - base, drawn - base_drawn)}"
            row.append(cell)
        rows.append(row)
    heads = [f"{axis} {share:g}" for share in others]
    table(f"accuracy minus that at {first:g}; that, minus {baseline}'s", heads, rows)


def held(told: dict[str, Any], group: str, key: str) -> dict[str, float] | None:
    """Return the mean over runs of a value and its ends; nothing where there is no such group."""
    found = [run.get("training_pictures", {}).get(group) for run in told["runs"]]
    if not all(found):
        return None
    return {
        end: float(np.mean([one[key][end] for one in found])) for end in ("value", "low", "high")
    }


def show_against(judged: Judged, against: tuple[str, str], axis: str) -> None:
    name, place = against[0], float(against[1])
    rows = [
        [
            one,
            *(
                "itself"
                if (one, share) == (name, place)
                else points(*change(found[one], judged[place][name], "accuracy"))
                for share, found in judged.items()
            ),
        ]
        for one in judged[place]
        if all(one in found for found in judged.values())
    ]
    heads = [f"{axis} {share:g}" for share in judged]
    table(f"accuracy minus that of {name} at {place:g}", heads, rows)


def show_held(study: Study, axis: str) -> None:
    rows = []
    for share, record in study.items():
        for name, told in record["losses"].items():
            for group in ("clean", "flipped", "good", "damaged"):
                cells = [held(told, group, key) for key in HELD]
                if all(cells):
                    shown = [
                        f"{cell['value']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]"
                        for cell in cells
                        if cell is not None
                    ]
                    rows.append([f"{share:g}, {name}, {group}", *shown])
    if rows:
        table(f"{axis}, loss, training pictures", list(HELD.values()), rows)


def draw(judged: Judged, study: Study, axis: str, out: Path) -> None:
    """Draw accuracy and, with label noise, what became of the wrong labels, against the share."""
    panels = 1 + (axis == "label_noise")
    figure, axes = plt.subplots(
        1, panels, figsize=(5.2 * panels, 4.4), layout="constrained", squeeze=False
    )
    names, shares = list(judged[min(judged)]), list(judged)
    gap = (shares[-1] - shares[0]) / 80
    for number, (name, look) in enumerate(zip(names, LOOKS, strict=False)):
        shift = gap * (number - (len(names) - 1) / 2)
        metrics = {share: judged[share][name].metrics["accuracy"].as_dict() for share in shares}
        line(axes[0][0], metrics, shift, look, label=name)
        for key, dashes in NEAREST if panels == 2 else ():
            told = {share: held(study[share]["losses"][name], "flipped", key) for share in shares}
            line(axes[0][1], told, shift, look, dashes=dashes)
    axes[0][0].set(ylabel="accuracy on unseen people, %", title="Unseen people")
    if panels == 2:
        axes[0][1].set(
            ylabel="nearest class: true (solid), given (dashed), %",
            title="Training pictures with a wrong label",
        )
    unit = "" if axis == "epochs" else ", share of the training pictures"
    for panel in axes[0]:
        panel.set(xlabel=f"{axis.replace('_', ' ')}{unit}", xticks=shares)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(out, dpi=110)


def line(
    panel: Any,
    ends: dict[float, dict[str, float] | None],
    shift: float,
    look: tuple[str, str],
    **style: str,
) -> None:
    """Draw values with their intervals where there are any, moved aside so that none hides one."""
    known = [(share + shift, cell) for share, cell in ends.items() if cell is not None]
    value, low, high = (
        100 * np.array([cell[end] for _, cell in known]) for end in ("value", "low", "high")
    )
    panel.errorbar(
        [place for place, _ in known],
        value,
        yerr=[value - low, high - value],
        color=look[0],
        marker=look[1],
        ls=style.pop("dashes", "-"),
        ms=5,
        lw=1.4,
        elinewidth=0.9,
        capsize=2,
        **style,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--axis", choices=tuple(SETTINGS), default="label_noise")
    parser.add_argument("--against", nargs=2, metavar=("LOSS", "PLACE"))
    parser.add_argument("--picture", type=Path)
    chosen = parser.parse_args()
    pairs = read_pairs(chosen.pairs)
    study, judged = {}, {}
    for folder in chosen.folders:
        record = json.loads((folder / "results.json").read_text())
        share = record["settings"].get(SETTINGS[chosen.axis], 0.0)
        if share in study:
            raise SystemExit(
                f"{folder} must differ from the others in {chosen.axis}, got {share:g}"
            )
        study[share], judged[share] = record, judged_of(record, folder, pairs)
    study, judged = (dict(sorted(found.items())) for found in (study, judged))
    baseline = study[min(study)]["baseline"]
    axis = chosen.axis.replace("_", " ")
    show_levels(judged, baseline, axis)
    if len(judged) > 1:
        show_falls(judged, baseline, axis)
    if chosen.against is not None:
        show_against(judged, chosen.against, axis)
    show_held(study, axis)
    if chosen.picture is not None:
        draw(judged, study, chosen.axis, chosen.picture)


if __name__ == "__main__":
    main()
