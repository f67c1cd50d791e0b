"""A made-up comparison record, in the form of results.json, with every part filled."""

import numpy as np

from marginface.evaluation import (
    compare_records,
    det_curve,
    judge_pairs,
    score_histogram,
    thin,
    worst_errors,
)
from marginface.report import encode_picture
from tests.evaluation.cases import people_pairs, people_scores

TARGETS = (0.001, 0.01, 0.1)
STRENGTH = {
    "softmax": 1.6,
    "cosface": 2.0,
    "arcface": 2.05,
    "elasticface-arc": 2.1,
    "elasticface-cos-plus": 1.62,
    "sface": 1.1,
}


def comparison_record(*, resamples=40):
    rng = np.random.default_rng(1)
    first, second, folds = people_pairs(rng, identities=60, mated=40, nonmated=40)
    pairs = {"first_identity": first, "second_identity": second, "folds": folds}
    is_mated = first == second
    base = people_scores(rng, first, second, distance=0.0)
    judged = {}
    for name, strength in STRENGTH.items():
        runs = [
            np.tanh((base + strength * is_mated + 0.4 * rng.normal(size=base.size)) / 4)
            for _ in range(2)
        ]
        judged[name] = (
            runs,
            judge_pairs(runs, is_mated, fmr_targets=TARGETS, resamples=resamples, **pairs),
        )
    losses = {}
    for name, (runs, record) in judged.items():
        losses[name] = {**_loss(name, runs, record, is_mated), **_worst(runs[0], first, second)}
        if name != "softmax":
            differences = compare_records(record, judged["softmax"][1])
            losses[name]["difference"] = {k: v.as_dict() for k, v in differences.items()}
    return {**_frame(), "losses": losses}


def _frame():
    whole = {"value": 0.5, "low": 0.48, "high": 0.53}
    return {
        "title": "Six losses on made-up people",
        "command": "marginface compare made-up --losses softmax,cosface --seeds 0,1",
        "date": "2026-11-22",
        "versions": {"marginface": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
        "machine": "2 cores <x86_64> & 8 GB",
        "baseline": "softmax",
        "seeds": [0, 1],
        "data": {
            "train": {
                "name": "made-up/train",
                "identities": 173,
                "images": 4120,
                "fingerprint": "3f" * 32,
            },
            "evaluation": {
                "name": "made-up/val",
                "identities": 60,
                "images": 900,
                "pairs": {"mated": 400, "nonmated": 400},
                "failure_to_acquire": 0.004,
            },
        },
        "settings": {"backbone": "iresnet_tiny", "steps": 400, "batch_size": 128},
        "references": {"untrained network": {"metrics": {"accuracy": whole}, "refused": {}}},
    }


def _loss(name, runs, record, is_mated):
    result = record.as_dict()
    curve = thin(det_curve(runs[0][is_mated], runs[0][~is_mated]), points=120)
    angle = np.linspace(0, np.pi, 91)
    shift = 0.0 if name == "softmax" else 0.1 * len(name) / 5
    target = np.cos(np.minimum(angle + shift, np.pi))
    margin = {"angle_rad": angle.tolist(), "target": target.tolist()}
    if name.startswith("elastic"):
        margin["target_low"] = (target - 0.1).tolist()
        margin["target_high"] = (target + 0.1).tolist()
    return {
        "paper": f"The {name} paper, CVPR 2019",
        "formula": "L = -log( e^{s·cos(θ_y + m)} / Σ_j e^{s·cos θ_j} )",
        "options": {"margin_rad": 0.5, "scale": 64.0},
        "runs": [_run(name, seed, result) for seed in range(2)],
        "metrics": result["metrics"],
        "refused": result["refused"],
        "fold_std": result["fold_std"],
        "curve": curve.as_dict(),
        "histogram": score_histogram(runs[0], is_mated, bins=40),
        "margin": margin,
    }


def _run(name, seed, result):
    steps = np.arange(0, 401, 20)
    fall = np.exp(-steps / (90 + 10 * len(name) + 20 * seed))
    return {
        "seed": seed,
        "seconds": 61.5 + seed,
        "steps": 400,
        "images_per_s": 812.3,
        "final_loss": 3.2,
        "metrics": {
            metric: {**ends, "value": values[seed]}
            for (metric, ends), values in zip(
                result["metrics"].items(),
                (result["run_values"][metric] for metric in result["metrics"]),
                strict=True,
            )
        },
        "history": [
            {"step": int(step), "loss": float(18 * f + 3), "own_cosine": float(0.8 * (1 - f))}
            for step, f in zip(steps, fall, strict=True)
        ],
    }


def _worst(scores, first, second):
    is_mated = first == second
    rng = np.random.default_rng(3)
    worst = []
    for pair in worst_errors(scores, is_mated, count=8):
        faces = [rng.integers(0, 255, (4, 4, 3)).astype(np.uint8) for _ in range(2)]
        large = [np.kron(face, np.ones((14, 14, 1), np.uint8)) for face in faces]
        worst.append(
            {
                "first": f"person_{first[pair]:05d}/person_{first[pair]:05d}_0001.png",
                "second": f"person_{second[pair]:05d}/person_{second[pair]:05d}_0002.png",
                "score": float(scores[pair]),
                "is_mated": bool(is_mated[pair]),
                "first_picture": encode_picture(large[0]),
                "second_picture": encode_picture(large[1]),
            }
        )
    return {"worst": worst}
