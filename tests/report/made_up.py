"""Made-up records of every kind, in the form their commands write, with every part filled."""

import numpy as np

from marginface.evaluation import (
    compare_records,
    det_curve,
    error_versus_reject,
    judge_groups,
    judge_pairs,
    score_histogram,
    thin,
    worst_errors,
)
from marginface.evaluation.gallery_search import search_gallery
from marginface.evaluation.search_judge import judge_searches
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


def evaluation_record(*, name="sface", strength=2.0, has_curve=False, resamples=40):
    """A made-up record of `marginface evaluate`, with groups and error versus reject."""
    rng = np.random.default_rng(7)
    first, second, folds = people_pairs(rng, identities=60, mated=40, nonmated=40)
    is_mated = first == second
    base = people_scores(rng, first, second, distance=0.0)
    noise = rng.normal(size=base.size)
    scores = np.tanh((base + strength * is_mated + 0.6 * noise) / 4)
    people = {"first_identity": first, "second_identity": second}
    draws = {"resamples": resamples, "seed": 0}
    judged = judge_pairs(scores, is_mated, folds=folds, fmr_targets=TARGETS, **people, **draws)
    side = np.where(np.stack([first, second]) % 7 == 0, "side_view & <dark>", "frontal")
    groups = judge_groups(
        scores,
        is_mated,
        **people,
        first_group=side[0],
        second_group=side[1],
        target_fmr=0.1,
        **draws,
    ).as_dict()
    quality = -np.abs(noise) + 0.3 * rng.normal(size=base.size)
    rejection = error_versus_reject(
        scores, is_mated, quality, **people, target_fmr=0.1, **draws
    ).as_dict()
    record = {
        "model": name,
        "score": {"name": "cosine", "meaning": "cosine of the angle"},
        **judged.as_dict(),
        "rejection": {"quality": "the shorter of the two features", **rejection},
        "groups": {"column": "pose", "bins": [], **groups},
        "protocol": "LFW pairs, 800 in 10 folds",
        "data": {"images": "faces", "pairs": "pairs_50%.txt"},
        "date": "2026-11-22",
    }
    if has_curve:
        curve = thin(det_curve(scores[is_mated], scores[~is_mated]), points=120)
        record["curve"] = curve.as_dict()
        record["histogram"] = score_histogram(scores, is_mated, bins=40)
    return record


def protocol_pair_record():
    """A made-up record of `marginface protocol pairs`: exact figures and the public ones."""
    kept = ("metrics", "refused", "cautions", "fold_std", "failure_to_acquire", "pairs")
    judged = evaluation_record(strength=2.2)
    return {
        "protocol": "lfw",
        **{key: judged[key] for key in (*kept, "identities", "bootstrap")},
        "repeated_pairs": 0,
        "insightface": {
            "mean": 0.9312,
            "std": 0.0123,
            "tar": 0.81,
            "tar_std": 0.02,
            "low": 0.9,
            "high": 0.95,
            "why_it_differs": "other thresholds are tried",
            "exact_minus_public": -0.0005,
        },
        "features": "made/lfw_features.npy",
        "failures": [],
    }


def gallery_record():
    """A made-up record of `marginface protocol gallery`, searched by the code that does it."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(90, 16))
    gallery = centres[:60] + 0.55 * rng.normal(size=(60, 16))
    shown = np.tile(np.arange(90), 4)
    probes = centres[shown] + 0.55 * rng.normal(size=(360, 16))
    searches = search_gallery(
        probes / np.linalg.norm(probes, axis=1, keepdims=True),
        gallery / np.linalg.norm(gallery, axis=1, keepdims=True),
        probe_identity=shown,
        gallery_identity=np.arange(60),
    )
    return {
        "protocol": "shop 1:N",
        **judge_searches(
            {"all": searches},
            shown,
            fpir_targets=(0.001, 0.05, 0.1, 0.3),
            resamples=40,
        ),
        "probes": 360,
        "mated_probes": 240,
        "gallery": 60,
        "distractors": 0,
        "failure_to_acquire": 0.0,
        "failures": [],
    }


def ijb_record():
    """A made-up record of `marginface protocol ijbc`, with 1:1, 1:N and the three rules."""
    base = protocol_pair_record()
    searched = gallery_record()
    newer = next(p for p in searched["fnir_at_fpir"] if p["rule"] == "newer")
    older = {**newer, "rule": "older", "gallery": "both", "fpir": None}
    scored = evaluation_record(has_curve=True)
    return {
        **{key: value for key, value in base.items() if key not in ("features", "insightface")},
        "protocol": "ijbc 1:1",
        "curve": scored["curve"],
        "histogram": scored["histogram"],
        "templates": 120,
        "faces": 900,
        "insightface": {
            "tar_at_far": [{"target": t, "tar": 0.9 + t, "far": t} for t in TARGETS],
            "why_it_differs": "points of a thinned curve",
        },
        "weighting": "norm+detector",
        "identification": {
            **{
                key: searched[key]
                for key in ("cmc", "cmc_curve", "open_set_curves", "cautions", "bootstrap")
            },
            "protocol": "ijbc 1:N",
            "fnir_at_fpir": [*searched["fnir_at_fpir"], older],
            "mean_fnir": [{"rule": "iso", "target": 0.1, "fnir": 0.2, "low": 0.1, "high": 0.3}],
            "refused": {},
            "probes": 360,
            "galleries": {"G1": 60, "G2": 60},
        },
    }


def megaface_record():
    """A made-up record of `marginface protocol megaface`."""
    return {
        "protocol": "megaface",
        "identification": [
            {
                "distractors": size,
                "cmc": {
                    rank: {"value": 0.995 - step * n, "low": 0.985 - step * n, "high": 0.999}
                    for rank, step in (("1", 0.02), ("10", 0.01))
                },
            }
            for n, size in enumerate((10, 100, 1_000, 10_000, 100_000, 1_000_000))
        ],
        "verification": {
            "protocol": "megaface 1:1",
            "metrics": {"fnmr_at_fmr_0.000001": {"value": 0.03, "low": 0.02, "high": 0.05}},
            "refused": {},
            "cautions": {"fnmr_at_fmr_0.000001": "rests on little"},
            "pairs": {"mated": 75_801, "nonmated": 3_530_000_000},
            "identities": 80,
            "failure_to_acquire": 0.0,
        },
        "probes": 3530,
        "pairs": 151_602,
        "noises_removed": {"probes": 0, "distractors": 0},
        "failure_to_acquire": 0.0,
    }
