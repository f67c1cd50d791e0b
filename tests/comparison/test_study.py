"""A whole comparison on patterns instead of faces: small enough for seconds."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import marginface.comparison.runs as runs_module
from marginface.comparison import (
    ComparisonPlan,
    compare_losses,
    judge_models_in_groups,
    read_scores,
)
from marginface.comparison import study as study_module
from marginface.comparison.margins import margin_curve
from marginface.comparison.runs import planned_runs, usual_jobs
from marginface.data import PackedFaces, make_pairs, read_pairs, write_pairs
from marginface.data.pairs import picture_stem
from marginface.errors import CheckpointMismatchError, DataError, ProtocolFileError
from marginface.recognition import pair_groups
from marginface.reconstruction import ReconstructionConfig
from marginface.training import LossConfig
from tests.training.tiny import assert_same_tensors, tiny_config, write_pack

LOSSES = (
    LossConfig(name="softmax", options={"scale": 16.0}),
    LossConfig(name="elasticface-cos-plus", options={"scale": 16.0}),
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> ComparisonPlan:
    folder = tmp_path_factory.mktemp("comparison")
    train = write_pack(folder / "train.pack")
    unseen = PackedFaces.open(write_pack(folder / "unseen.pack", identities=12))
    renamed = folder / "renamed"
    renamed.mkdir()
    drawn = make_pairs(unseen.names, folds=2, pairs_per_fold=20, seed=0)
    write_pairs(drawn, folder / "pairs.txt")
    held_out = folder / "train.txt"
    # The unseen pack holds the trained people too; the list keeps the pairs apart from them.
    held_out.write_text("person_0\nperson_1\nperson_2\n")
    later = [name for name in unseen.names if int(name[7 : name.index("/")]) > 2]
    write_pairs(make_pairs(later, folds=2, pairs_per_fold=20, seed=0), folder / "pairs.txt")
    config = tiny_config(train, batch_size=8, steps=4)
    return ComparisonPlan(
        losses=LOSSES,
        baseline="softmax",
        seeds=(0, 1),
        config=replace(config, data=replace(config.data, identities=held_out)),
        images=unseen.path,
        pairs=folder / "pairs.txt",
        fmr_targets=(0.1, 0.001),
        resamples=50,
        references=("untrained",),
    )


def test_variants_with_reconstruction_stand_beside_those_without(plan: ComparisonPlan) -> None:
    config = replace(plan.config, reconstruction=ReconstructionConfig(size=32))
    joint = replace(plan, config=config, reconstructed=("softmax",))
    names = [variant.name for variant in joint.variants]
    assert names == ["softmax", "elasticface-cos-plus", "softmax+reconstruction"]
    configs = {variant.name: joint.run_config(variant, 1) for variant in joint.variants}
    assert configs["softmax"].reconstruction is None
    assert configs["softmax+reconstruction"].reconstruction == ReconstructionConfig(size=32)
    assert replace(configs["softmax+reconstruction"], reconstruction=None) == configs["softmax"]
    with pytest.raises(ValueError, match="reconstructed"):
        replace(plan, reconstructed=("sface",))


@pytest.fixture(scope="module")
def done(plan: ComparisonPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    compare_losses(plan, out, command="marginface compare …")
    return out


def test_the_record_holds_every_loss_seed_and_difference(plan: ComparisonPlan, done: Path) -> None:
    record = json.loads((done / "results.json").read_text())
    assert list(record["losses"]) == ["softmax", "elasticface-cos-plus"]
    for loss in record["losses"].values():
        assert [run["seed"] for run in loss["runs"]] == [0, 1]
        mean = np.mean([run["metrics"]["auc"]["value"] for run in loss["runs"]])
        assert loss["metrics"]["auc"]["value"] == pytest.approx(mean)
        assert loss["worst"]
        assert loss["worst"][0]["first_picture"]
    assert "difference" not in record["losses"]["softmax"]
    own = record["losses"]["elasticface-cos-plus"]
    # What was left at its default is told too, or m and σ of the formula would stay unknown.
    assert own["options"]["scale"] == 16.0
    assert own["options"]["margin_cosine"] == 0.35
    base = record["losses"]["softmax"]["metrics"]["auc"]["value"]
    assert own["difference"]["auc"]["value"] == pytest.approx(own["metrics"]["auc"]["value"] - base)
    assert "fnmr_at_fmr_0.001" in own["refused"]
    assert record["references"]["untrained"]["metrics"]["accuracy"]
    assert record["data"]["train"]["identities"] == 3


def test_a_second_call_trains_and_scores_nothing(
    plan: ComparisonPlan, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads((done / "results.json").read_text())
    models = {path: path.stat().st_mtime_ns for path in done.rglob("*.safetensors")}

    def refuse(*args: object, **keywords: object) -> None:
        raise AssertionError("something was scored again")

    monkeypatch.setattr("marginface.comparison.scoring.score_pairs", refuse)
    assert compare_losses(plan, done, command="marginface compare …") == before
    # Nor where the record is gone and only the scores are left.
    (done / "results.json").unlink()
    assert compare_losses(plan, done, command="marginface compare …") == before
    assert models == {path: path.stat().st_mtime_ns for path in done.rglob("*.safetensors")}


def test_a_finished_comparison_is_not_judged_again(
    plan: ComparisonPlan, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(done, out)
    before = json.loads((out / "results.json").read_text())
    assert set(before["key"]) == {
        "plan",
        "training_pack",
        "pairs",
        "pictures",
        "models",
        "versions",
    }
    judged: list[int] = []
    judge = study_module.judge_scores
    monkeypatch.setattr(
        study_module,
        "judge_scores",
        lambda runs, **options: judged.append(1) or judge(runs, **options),
    )
    assert compare_losses(plan, out) == before
    assert not judged
    # Another number of resamples is another plan, so is another set of weights.
    again = compare_losses(replace(plan, resamples=20), out)
    assert len(judged) == 3
    assert again["key"]["plan"] != before["key"]["plan"]
    assert again["key"]["models"] == before["key"]["models"]
    assert (
        again["losses"]["softmax"]["metrics"]["auc"]["low"]
        != (before["losses"]["softmax"]["metrics"]["auc"]["low"])
    )
    (out / "results.json").write_text("{cut off")
    assert compare_losses(plan, out)["losses"] == before["losses"]
    model = out / "references/untrained/model.safetensors"
    model.write_bytes((out / "runs/softmax/seed-0/model.safetensors").read_bytes())
    changed = compare_losses(plan, out)
    assert changed["key"]["models"] != before["key"]["models"]
    assert changed["references"] != before["references"]


def test_kept_scores_in_groups(plan: ComparisonPlan, done: Path, tmp_path: Path) -> None:
    pairs = read_pairs(plan.pairs)
    scored = {
        name: [read_scores(done / f"runs/{name}/seed-{seed}/scores.npz", pairs) for seed in (0, 1)]
        for name in ("softmax", "elasticface-cos-plus")
    }
    names = sorted({picture_stem(*picture) for picture in [*pairs.first, *pairs.second]})
    blur = np.random.default_rng(0).normal(size=len(names))
    lines = [f"{name}.png,{value}" for name, value in zip(names, blur, strict=True)]
    (tmp_path / "blur.csv").write_text("\n".join(["picture,blur", *lines]))
    groups = pair_groups(pairs, tmp_path / "blur.csv", "blur", bins=2)
    table = judge_models_in_groups(scored, groups, baseline="softmax", target_fmr=0.1, resamples=20)
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    rows = {name: model["rows"] for name, model in table["models"].items()}
    assert [row["name"] for row in rows["softmax"]] == ["all", *groups.order, "different groups"]
    record = json.loads((done / "results.json").read_text())
    for name, whole in rows.items():
        metrics = record["losses"][name]["metrics"]
        assert whole[0]["fnmr"]["value"] == pytest.approx(metrics["fnmr_at_fmr_0.1"]["value"])
    assert "difference" not in table["models"]["softmax"]
    apart = table["models"]["elasticface-cos-plus"]["difference"]
    for place, row in enumerate(rows["elasticface-cos-plus"]):
        expected = row["fnmr"]["value"] - rows["softmax"][place]["fnmr"]["value"]
        assert apart[row["name"]]["fnmr"]["value"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="did you mean 'softmax'"):
        judge_models_in_groups(scored, groups, baseline="sofmax")


def test_kept_scores_that_do_not_fit(plan: ComparisonPlan, done: Path, tmp_path: Path) -> None:
    pairs = read_pairs(plan.pairs)
    kept = done / "runs/softmax/seed-0/scores.npz"
    with pytest.raises(DataError, match="does not exist"):
        read_scores(tmp_path / "scores.npz", pairs)
    other = make_pairs(
        [f"p{n}/p{n}_000{k}.png" for n in range(9) for k in (1, 2)],
        folds=1,
        pairs_per_fold=2,
        seed=0,
    )
    with pytest.raises(DataError, match=r"must hold key, .* of 4 pairs"):
        read_scores(kept, other)
    with np.load(kept) as parts:
        old = {name: parts[name] for name in parts.files if name != "quality"}
    np.savez(tmp_path / "scores.npz", **old)
    with pytest.raises(DataError, match="got an older file"):
        read_scores(tmp_path / "scores.npz", pairs)


def test_another_plan_in_the_same_folder_is_refused(plan: ComparisonPlan, done: Path) -> None:
    other = replace(plan, config=replace(plan.config, steps=5))
    with pytest.raises(CheckpointMismatchError, match="steps"):
        compare_losses(other, done)


def test_runs_at_a_time_are_as_many_as_cores_and_runs_allow(
    plan: ComparisonPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = len(plan.seeds) * len(plan.variants)
    monkeypatch.setattr(runs_module, "cores", lambda: 64)
    assert usual_jobs(plan) == runs > 1
    monkeypatch.setattr(runs_module, "cores", lambda: 1)
    assert usual_jobs(plan) == 1
    monkeypatch.setattr(runs_module, "cores", lambda: 64)
    assert usual_jobs(replace(plan, config=replace(plan.config, device="cuda"))) == 1


@pytest.mark.slow
def test_runs_side_by_side_give_the_same_models(
    plan: ComparisonPlan, done: Path, tmp_path: Path
) -> None:
    compare_losses(plan, tmp_path, jobs=2)
    for run in planned_runs(plan, done):
        other = tmp_path / run.folder.relative_to(done)
        # Tiny layers take one thread either way, so even the last bit agrees.
        assert_same_tensors(run.folder / "model.safetensors", other / "model.safetensors")


def test_runs_start_alike_and_see_the_same_batches(plan: ComparisonPlan) -> None:
    one, other = (plan.run_config(variant, 0) for variant in plan.variants)
    pack = study_module.open_training_data(one)
    first = study_module.build_parts(one, pack).live_tensors()
    second = study_module.build_parts(other, pack).live_tensors()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert replace(one, loss=other.loss) == other


def test_people_trained_on_are_not_judged_on(plan: ComparisonPlan, tmp_path: Path) -> None:
    everybody = replace(plan.config, data=replace(plan.config.data, identities=None))
    with pytest.raises(ValueError, match=r"must not be trained on, got \d+ that are, person_"):
        compare_losses(replace(plan, config=everybody), tmp_path)


def test_a_missing_picture_is_found_before_anything_is_trained(
    plan: ComparisonPlan, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("1\t1\nperson_3\t1\t2\nperson_3\t1\tperson_4\t77\n")
    missing = r"pairs.txt line 3: image 'person_4/person_4_0077\.\*' not found"
    with pytest.raises(ProtocolFileError, match=missing):
        compare_losses(replace(plan, pairs=pairs), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": "arcface"}, "baseline must be one of softmax, elasticface-cos-plus"),
        ({"losses": (LossConfig(name="arcfase"),)}, "did you mean 'arcface'"),
        ({"seeds": (0, 0)}, "seeds must be one or more numbers, each once"),
        ({"losses": LOSSES + LOSSES}, "each once"),
        ({"fmr_targets": (0.1, 0.0)}, r"fmr_targets must be a fraction in \(0, 1\), got 0.0"),
        ({"resamples": 0}, "resamples must be at least 1, got 0"),
        ({"references": ("starting-weights",)}, "only where backbone.weights is given"),
        ({"losses": (LossConfig(name="arcface", options={"margin_rad": 28.6}),)}, "degrees"),
    ],
)
def test_what_a_plan_refuses(plan: ComparisonPlan, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(plan, **change)


def test_margin_curves_are_the_own_class_term_over_the_scale() -> None:
    curve = margin_curve(LossConfig(name="cosface", options={"margin_cosine": 0.3}), points=3)
    assert curve["angle_rad"] == pytest.approx([0, np.pi / 2, np.pi])
    assert curve["target"] == pytest.approx([0.7, -0.3, -1.3])
    # A random margin is drawn at its mean, so the picture is the same every time.
    elastic = margin_curve(LossConfig(name="elasticface-cos"), points=3)
    assert elastic["target"] == pytest.approx([0.65, -0.35, -1.35])
    # The page shades two standard deviations of 0.05 beside it: a large margin lowers the target.
    assert elastic["target_low"] == pytest.approx([0.55, -0.45, -1.45])
    assert elastic["target_high"] == pytest.approx([0.75, -0.25, -1.25])
    assert "target_low" not in curve
