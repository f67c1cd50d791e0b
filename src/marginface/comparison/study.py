"""A whole comparison: train, score, judge, record."""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from marginface.comparison.margins import margin_curve
from marginface.comparison.pictures import worst_pairs
from marginface.comparison.plan import ComparisonPlan, Variant
from marginface.comparison.runs import planned_runs, train_runs
from marginface.comparison.scoring import score_model
from marginface.data import (
    CorruptedFaces,
    FaceSet,
    ImageSource,
    PairList,
    open_images,
    read_pairs,
    resolve_pairs,
)
from marginface.evaluation import (
    PairRecord,
    compare_records,
)
from marginface.evaluation.curves import drawn_scores
from marginface.files import sha256_of, write_atomically
from marginface.losses import LOSSES, facts_of
from marginface.progress import track
from marginface.recognition import save_model
from marginface.recognition.benchmark import fingerprint_of
from marginface.recognition.pair_scores import PairScores, judge_scores
from marginface.training import TrainConfig, TrainResult, noise_report, read_log
from marginface.training.build import build_parts, open_training_data
from marginface.training.config import flat
from marginface.training.describe import make_contract, versions
from marginface.training.machine import cores

RESULTS = "results.json"


def compare_losses(
    plan: ComparisonPlan, out: Path, *, jobs: int = 1, command: str = ""
) -> dict[str, Any]:
    """Train, score and judge everything a plan names; go on where an earlier call was cut.

    Args:
        plan: What is compared.
        out: Folder for the runs, the scores and `results.json`; made if absent.
        jobs: Training runs at a time.
        command: How to do this again, for the record.

    Returns:
        The record, as written to `results.json`. Where that file was made of the same plan, pairs,
        pictures, models and versions, as its `key` says, it is returned as it is.

    Raises:
        DataError: If pictures cannot be used.
        ProtocolFileError: If the pair list does not fit them, found before anything is trained.
        CheckpointMismatchError: If `out` holds runs of another plan.
    """
    pairs, source = _open_evaluation(plan)
    pack = open_training_data(plan.config)
    _check_disjoint(pack, pairs, plan)
    results = train_runs(plan, out, jobs=jobs)
    references = {name: _reference_model(plan, name, out) for name in plan.references}
    models = [result.model_path for result in results] + list(references.values())
    digest = fingerprint_of(source, pairs)
    key = _key(plan, pack, digest, models)
    if (kept := _kept_record(out / RESULTS, key)) is not None:
        return kept
    scored = {
        model: score_model(model, source, pairs, plan, digest=digest)
        for model in track(models, "score the pairs")
    }
    by_loss = _by_loss(plan, out, results)
    paths = {name: [result.model_path for _, result in by_loss[name]] for name in by_loss}
    paths |= {name: [path] for name, path in references.items()}
    judged = {
        name: judge_scores(
            [scored[path] for path in paths[name]],
            fmr_targets=plan.fmr_targets,
            resamples=plan.resamples,
        )
        for name in track(list(paths), "draw the intervals")
    }
    record = _head(plan, pack, source, pairs, judged[plan.baseline], command, jobs)
    record["key"] = key
    record["references"] = {name: judged[name].as_dict() for name in references}
    record["losses"] = {
        variant.name: _variant_record(
            variant, by_loss[variant.name], judged, scored, source, pairs, plan
        )
        for variant in plan.variants
    }
    if isinstance(pack, CorruptedFaces):
        _add_noise_reports(record, by_loss, pack)
    write_atomically(out / RESULTS, json.dumps(record, indent=1, allow_nan=False) + "\n")
    return record


def _add_noise_reports(
    record: dict[str, Any], by_loss: dict[str, list[tuple[int, TrainResult]]], pack: CorruptedFaces
) -> None:
    """Say of every run how it holds the spoilt pictures it was trained on."""
    for name, runs in track(list(by_loss.items()), "look at the spoilt pictures"):
        for told, (_, result) in zip(record["losses"][name]["runs"], runs, strict=True):
            folder = result.model_path.parent
            told["training_pictures"] = noise_report(folder, faces=pack)["groups"]


def _by_loss(
    plan: ComparisonPlan, out: Path, results: Sequence[TrainResult]
) -> dict[str, list[tuple[int, TrainResult]]]:
    runs = list(zip(planned_runs(plan, out), results, strict=True))
    return {
        variant.name: [(run.seed, result) for run, result in runs if run.variant == variant]
        for variant in plan.variants
    }


def _open_evaluation(plan: ComparisonPlan) -> tuple[PairList, ImageSource]:
    """Open what the plan judges on, and find what is missing before hours are trained for it."""
    pairs, source = read_pairs(plan.pairs), open_images(plan.images)
    left_out = [name for name, *_ in source.left_out]
    resolve_pairs(pairs, source.names, left_out=left_out, where=f"--images {plan.images}")
    return pairs, source


def _check_disjoint(pack: FaceSet, pairs: PairList, plan: ComparisonPlan) -> None:
    shared = sorted(set(pack.identities) & set(pairs.identities))
    if shared:
        raise ValueError(
            f"identities of {plan.pairs} must not be trained on, got {len(shared):,} that are, "
            f"{shared[0]} first; give --data.identities a list without them"
        )


def _reference_model(plan: ComparisonPlan, name: str, out: Path) -> Path:
    """Write the first weights of the first seed as a model file, with or without given weights."""
    path = out / "references" / name / "model.safetensors"
    if not path.is_file():
        config: TrainConfig = plan.run_config(plan.variants[0], plan.seeds[0])
        if name == "untrained":
            config = replace(config, backbone=replace(config.backbone, weights=None))
        pack = open_training_data(config)
        save_model(path, build_parts(config, pack).backbone.eval(), make_contract(config, pack))
    return path


def _key(
    plan: ComparisonPlan, pack: FaceSet, digest: str, models: Sequence[Path]
) -> dict[str, str]:
    """Return digests of all a record depends on; where they are equal the record would be too."""
    said = json.dumps(asdict(plan), sort_keys=True, default=str)
    trained = " ".join(sha256_of(model) for model in models)
    return {
        "plan": hashlib.sha256(said.encode()).hexdigest(),
        "training_pack": pack.fingerprint,
        "pairs": sha256_of(plan.pairs),
        "pictures": digest,
        "models": hashlib.sha256(trained.encode()).hexdigest(),
        "versions": json.dumps(versions(), sort_keys=True),
    }


def _kept_record(path: Path, key: dict[str, str]) -> dict[str, Any] | None:
    """Return the record written before, if it was made of the same plan and the same files."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("key") == key else None


def _head(
    plan: ComparisonPlan,
    pack: FaceSet,
    source: ImageSource,
    pairs: PairList,
    baseline: PairRecord,
    command: str,
    jobs: int,
) -> dict[str, Any]:
    settings = {
        name: value
        for name, value in flat(plan.config.to_dict()).items()
        if not name.startswith("loss.") and name not in {"seed", "data.path", "data.identities"}
    }
    return {
        "title": plan.title,
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
        "machine": f"{platform.machine()}, {cores()} cores, {jobs} runs at a time",
        "baseline": plan.baseline,
        "seeds": list(plan.seeds),
        "data": {
            "train": {
                "name": str(pack.meta.get("name", plan.config.data.path.name)),
                "identities": len(pack.identities),
                "images": len(pack),
                "fingerprint": pack.fingerprint,
                **({"corruption": pack.counts()} if isinstance(pack, CorruptedFaces) else {}),
            },
            "evaluation": {
                "name": plan.pairs.name,
                "identities": len(pairs.identities),
                "images": len(set(pairs.first) | set(pairs.second)),
                "pairs": baseline.pairs,
                "failure_to_acquire": baseline.failure_to_acquire,
            },
        },
        "settings": settings | {"flip_average": plan.flip_average, "resamples": plan.resamples},
    }


def _variant_record(
    variant: Variant,
    runs: list[tuple[int, TrainResult]],
    judged: dict[str, PairRecord],
    scored: dict[Path, PairScores],
    source: ImageSource,
    pairs: PairList,
    plan: ComparisonPlan,
) -> dict[str, Any]:
    loss = variant.loss
    facts, record = facts_of(LOSSES[loss.name]), judged[variant.name]
    first = scored[runs[0][1].model_path]
    result = record.as_dict() | {
        "paper": facts.paper,
        "formula": facts.formula,
        "options": facts.defaults | dict(loss.options),
        "runs": [
            _run_record(seed, result, {m: v[i] for m, v in record.run_values.items()})
            for i, (seed, result) in enumerate(runs)
        ],
        **drawn_scores(first.scores, first.is_mated),
        "margin": margin_curve(loss),
        "worst": worst_pairs(source, pairs, first.scores),
    }
    if variant.name != plan.baseline:
        differences = compare_records(record, judged[plan.baseline])
        result["difference"] = {name: item.as_dict() for name, item in differences.items()}
    return result


def _run_record(seed: int, result: TrainResult, values: dict[str, float]) -> dict[str, Any]:
    log = read_log(result.model_path.with_name("log.jsonl"))
    return {
        "seed": seed,
        "seconds": result.seconds,
        "steps": result.steps,
        "images_per_s": result.images_per_s,
        "final_loss": result.final_loss,
        "metrics": {name: {"value": value} for name, value in values.items()},
        "history": [
            {"step": line["step"], "loss": line["loss"], "own_cosine": line.get("own_cosine")}
            for line in log
            if "loss" in line
        ],
    }
