"""A comparison on spoilt pictures says so, and how each run holds them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from marginface.comparison import ComparisonPlan, compare_losses
from marginface.data import PackedFaces, make_pairs, write_pairs
from marginface.report import write_comparison_page
from marginface.training import LossConfig, noise_report
from tests.training.tiny import tiny_config, write_pack


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> ComparisonPlan:
    folder = tmp_path_factory.mktemp("noisy")
    pack = write_pack(folder / "all.pack", identities=12)
    later = [name for name in PackedFaces.open(pack).names if int(name[7 : name.index("/")]) > 5]
    write_pairs(make_pairs(later, folds=2, pairs_per_fold=20, seed=0), folder / "pairs.txt")
    (folder / "train.txt").write_text("".join(f"person_{row}\n" for row in range(6)))
    config = tiny_config(pack, batch_size=8, steps=4)
    data = replace(config.data, identities=folder / "train.txt", label_noise=0.25, low_quality=0.5)
    return ComparisonPlan(
        losses=tuple(
            LossConfig(name=name, options={"scale": 16.0}) for name in ("softmax", "sface")
        ),
        baseline="softmax",
        seeds=(0, 1),
        config=replace(config, data=data),
        images=pack,
        pairs=folder / "pairs.txt",
        fmr_targets=(0.1,),
        resamples=50,
    )


def test_record_and_page_tell_the_noise(plan: ComparisonPlan, tmp_path: Path) -> None:
    record = compare_losses(plan, tmp_path)
    counts = {"label_noise": 0.25, "low_quality": 0.5, "seed": 0, "flipped": 12, "damaged": 24}
    told = record["data"]["train"]
    assert told["corruption"] == counts
    assert told["name"] == "patterns (label noise 0.25, low quality 0.5, corruption seed 0)"
    assert record["settings"]["data.label_noise"] == 0.25
    lists = []
    for name, loss in record["losses"].items():
        for run in loss["runs"]:
            folder = tmp_path / "runs" / name / f"seed-{run['seed']}"
            assert run["training_pictures"] == noise_report(folder)["groups"]
            assert run["training_pictures"]["flipped"]["pictures"] == 12
            lists.append((folder / "corruption.csv").read_text())
    # Whatever the loss and the seed, the same pictures are spoilt in the same way.
    assert len(lists) == 4
    assert len(set(lists)) == 1
    write_comparison_page(record, tmp_path / "page.html")
    assert "label noise 0.25" in (tmp_path / "page.html").read_text()


def test_clean_and_noisy_runs_do_not_mix(plan: ComparisonPlan, tmp_path: Path) -> None:
    clean = replace(plan.config.data, label_noise=0.0, low_quality=0.0)
    plain = replace(plan, config=replace(plan.config, data=clean), seeds=(0,))
    record = compare_losses(plain, tmp_path)
    assert "corruption" not in record["data"]["train"]
    assert "training_pictures" not in record["losses"]["sface"]["runs"][0]
    assert "corruption" not in json.dumps(record["data"])
