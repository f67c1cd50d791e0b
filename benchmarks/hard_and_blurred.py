"""Split a finished comparison by pose and by sharpness, and ask what the length of a feature knows.

    python benchmarks/hard_and_blurred.py runs/study --pairs pairs.txt --pack val.pack \
        --baseline cosface

For every picture of the pairs the turn of the head and the sharpness are written to `facts.csv` in
the folder of the comparison: the truth for procedural people; for photographs the nose's offset
from the middle of the eyes over their distance (from `--landmarks`), and the logarithm of the
Laplacian's variance over the aligned crop. Then, at one threshold a model (FMR 1 % over all pairs):
FNMR in thirds of both, with the paired difference to the baseline; the rank correlation of the
feature's length with sharpness; the same where every picture is blurred by hand; error versus
reject by that length. 95 % intervals over people.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from marginface.comparison import judge_models_in_groups, read_scores
from marginface.data import PackedFaces, PairList, read_pairs
from marginface.data.pairs import picture_stem
from marginface.evaluation import error_versus_reject, rank_correlation
from marginface.files import write_atomically
from marginface.recognition import Recognizer, pair_groups

COLUMNS = ("turn", "sharpness")
# Deviations of the blur as shares of the crop's side.
BLURS = (0.0, 0.01, 0.02, 0.04)
FMR = 0.01


def picture_facts(
    pack: PackedFaces, stems: list[str], landmarks: Path | None
) -> dict[str, tuple[float, float]]:
    """Return (turn, sharpness) of each picture, larger is more turned and sharper."""
    rows = {name.rpartition(".")[0]: row for row, name in enumerate(pack.names)}
    points = {} if landmarks is None else read_landmarks(landmarks)
    facts = {}
    for stem in stems:
        row = rows[stem]
        if "yaw_rad" in pack.truth:
            turn, sharpness = (
                abs(float(pack.truth["yaw_rad"][row])),
                -float(pack.truth["blur_px"][row]),
            )
        else:
            grey = cv2.cvtColor(np.ascontiguousarray(pack.read([row])[0]), cv2.COLOR_RGB2GRAY)
            sharpness = float(np.log(cv2.Laplacian(grey, cv2.CV_64F).var() + 1e-6))
            turn = points.get(stem, float("nan"))
        facts[stem] = (round(turn, 4), round(sharpness, 4))
    return facts


def read_landmarks(path: Path) -> dict[str, float]:
    with path.open(newline="") as file:
        return {
            row["file"].rpartition(".")[0]: abs(
                float(row["nose_x"]) - (float(row["eye1_x"]) + float(row["eye2_x"])) / 2
            )
            / abs(float(row["eye2_x"]) - float(row["eye1_x"]))
            for row in csv.DictReader(file)
        }


def shown(value: float, low: float, high: float, *, percent: bool = True) -> str:
    factor = 100 if percent else 1
    return f"{value * factor:.2f} [{low * factor:.2f}, {high * factor:.2f}]"


def split(folder: Path, models: list[str], pairs: PairList, baseline: str) -> dict[str, Any]:
    scored = {
        name: [
            read_scores(path, pairs)
            for path in sorted((folder / "runs" / name).glob("seed-*/scores.npz"))
        ]
        for name in models
    }
    return {
        column: judge_models_in_groups(
            scored,
            pair_groups(pairs, folder / "facts.csv", column),
            baseline=baseline,
            target_fmr=FMR,
        )
        for column in COLUMNS
    }


def show_split(record: dict[str, Any]) -> None:
    for column, judged in record.items():
        rows = {name: model["rows"] for name, model in judged["models"].items()}
        groups = [row for row in next(iter(rows.values())) if row["fnmr"] is not None]
        heads = [f"{row['name']} ({row['mated']:,} mated)" for row in groups]
        print(f"\n| FNMR %, threshold at FMR 1 %, by {column} | " + " | ".join(heads) + " |")
        print("| --- |" + " ---: |" * len(groups))
        for name, found in rows.items():
            by_group = {row["name"]: row["fnmr"] for row in found}
            changes = judged["models"][name].get("difference", {})
            cells = []
            for group in (row["name"] for row in groups):
                cell = shown(*(by_group[group][key] for key in ("value", "low", "high")))
                change = changes.get(group, {}).get("fnmr")
                if change is not None:
                    mark = "" if change["is_shown"] else ", not shown"
                    cell += f" ({change['value'] * 100:+.1f}{mark})"
                cells.append(cell)
            print(f"| {name} | " + " | ".join(cells) + " |")


def quality(
    folder: Path, models: list[str], pairs: PairList, pack: PackedFaces, facts: dict[str, Any]
) -> dict[str, Any]:
    rows = {name.rpartition(".")[0]: row for row, name in enumerate(pack.names)}
    stems = sorted(facts)
    faces = pack.read([rows[stem] for stem in stems])
    people = [stem.partition("/")[0] for stem in stems]
    sharpness = np.array([facts[stem][1] for stem in stems])
    blurred = {share: blur(faces, share) for share in BLURS}
    result = {}
    for name in models:
        run = sorted((folder / "runs" / name).glob("seed-*"))[0]
        recognizer = Recognizer.load(run / "model.safetensors")
        lengths = {share: recognizer.embed_with_norms(some)[1] for share, some in blurred.items()}
        norms = lengths[0.0]
        by_hand = rank_correlation(
            np.concatenate(list(lengths.values())),
            np.repeat([-share for share in BLURS], len(stems)),
            people * len(BLURS),
        )
        scored = read_scores(run / "scores.npz", pairs)
        rejection = error_versus_reject(
            scored.scores,
            scored.is_mated,
            scored.quality,
            first_identity=scored.first_identity,
            second_identity=scored.second_identity,
            target_fmr=FMR,
        )
        found = rank_correlation(norms, sharpness, people)
        result[name] = {
            "correlation": found.as_dict(),
            "by_hand": by_hand.as_dict(),
            "mean_lengths": {share: float(some.mean()) for share, some in lengths.items()},
            "rejection": rejection.as_dict(),
        }
    return result


def blur(faces: np.ndarray[Any, Any], share: float) -> np.ndarray[Any, Any]:
    if share == 0:
        return faces
    return np.stack([cv2.GaussianBlur(face, (0, 0), share * face.shape[0]) for face in faces])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--landmarks", type=Path)
    parser.add_argument("--baseline", default="cosface")
    chosen = parser.parse_args()
    pairs, pack = read_pairs(chosen.pairs), PackedFaces.open(chosen.pack)
    models = sorted(path.name for path in (chosen.folder / "runs").iterdir())
    stems = sorted({picture_stem(*picture) for picture in [*pairs.first, *pairs.second]})
    facts = picture_facts(pack, stems, chosen.landmarks)
    lines = [f"{stem}.jpg,{turn},{sharp}" for stem, (turn, sharp) in facts.items()]
    text = "\n".join(["picture,turn,sharpness", *lines]) + "\n"
    write_atomically(chosen.folder / "facts.csv", text)
    record = {"split": split(chosen.folder, models, pairs, chosen.baseline)}
    record["quality"] = quality(chosen.folder, models, pairs, pack, facts)
    write_atomically(chosen.folder / "hard_and_blurred.json", json.dumps(record, indent=1) + "\n")
    show_split(record["split"])
    titles = [
        "rank correlation of length and sharpness",
        "the same, blurred by hand",
        f"mean length at blurs {', '.join(map(str, BLURS))}",
        "FNMR versus reject, area minus random",
    ]
    print(f"\n| model | {' | '.join(titles)} |")
    print("| --- |" + " ---: |" * len(titles))
    for name, found in record["quality"].items():
        correlation, part = found["correlation"], found["rejection"]["fnmr"]
        cell = shown(*(correlation[key] for key in ("value", "low", "high")), percent=False)
        change = part["difference_to_random"]
        area = shown(*(change[key] for key in ("value", "low", "high")))
        gained = "" if part["gained"] is None else f", {part['gained']:.0%} of the oracle's gain"
        by_hand = shown(*(found["by_hand"][key] for key in ("value", "low", "high")), percent=False)
        lengths = ", ".join(f"{length:.2f}" for length in found["mean_lengths"].values())
        print(f"| {name} | {cell} | {by_hand} | {lengths} | {area}{gained} |")


if __name__ == "__main__":
    main()
