"""A run on spoilt pictures: part of what the run is, told everywhere, whoever runs it how."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from marginface.cli.app import run as run_words
from marginface.data import CorruptedFaces, to_float
from marginface.errors import CheckpointMismatchError, DataError
from marginface.recognition import load_model, read_contract
from marginface.training import DataConfig, TrainConfig, noise_report, read_config, read_log, train
from marginface.training import loop as loop_module
from marginface.training.build import open_training_data
from marginface.training.describe import run_identity
from tests.processes import run_on
from tests.training import together
from tests.training.test_processes import assert_equal_runs, exact
from tests.training.tiny import assert_same_tensors, newest, tensors_of, tiny_config


def spoilt(config: TrainConfig, **changes: float) -> TrainConfig:
    fields = {"label_noise": 0.25, "low_quality": 0.5, "corruption_seed": 3} | changes
    return replace(config, data=replace(config.data, **fields))


@pytest.fixture(scope="module")
def noisy(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noisy")
    train(spoilt(tiny_config(pack)), folder)
    return folder


def test_the_run_tells_what_was_done_to_its_data(pack: Path, noisy: Path) -> None:
    faces = open_training_data(read_config(noisy))
    assert isinstance(faces, CorruptedFaces)
    counts = {"label_noise": 0.25, "low_quality": 0.5, "seed": 3, "flipped": 12, "damaged": 24}
    assert json.loads((noisy / "config.json").read_text())["corruption"] == counts
    said = read_contract(noisy / "model.safetensors").training_data
    assert said.name == "patterns (label noise 0.25, low quality 0.5, corruption seed 3)"
    assert said.fingerprint == faces.fingerprint != faces._faces.fingerprint
    first, *others = read_log(noisy / "log.jsonl")
    assert first == {"step": 0, "label_noise": 0.25, "low_quality": 0.5, "seed": 3}
    assert [record["step"] for record in others] == [5, 10, 12]
    with (noisy / "corruption.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(row["identity"] != row["given_identity"] for row in rows) == 12
    assert {row["picture"] for row in rows if row["damage"]} == {
        name for name, bad in zip(faces.names, faces.is_low_quality, strict=True) if bad
    }


def test_a_clean_run_tells_nothing_and_is_the_run_it_was_before(whole: Path, pack: Path) -> None:
    assert not (whole / "corruption.csv").exists()
    assert "corruption" not in json.loads((whole / "config.json").read_text())
    assert read_log(whole / "log.jsonl")[0]["step"] == 5
    config = tiny_config(pack)
    identity = run_identity(config, open_training_data(config))
    assert not [name for name in identity if "noise" in name or "quality" in name]
    # A seed that draws nothing makes no other run.
    other = spoilt(config, label_noise=0.0, low_quality=0.0)
    assert run_identity(other, open_training_data(other)) == identity


def test_a_run_cut_anywhere_goes_on_with_the_same_wrong_labels(
    pack: Path, noisy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, taken = loop_module.take_step, []

    def dies(*arguments: object, **options: object) -> object:
        taken.append(arguments[4])
        if len(taken) == 8:
            raise KeyboardInterrupt
        return original(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loop_module, "take_step", dies)
    with pytest.raises(KeyboardInterrupt):
        train(spoilt(tiny_config(pack)), tmp_path)
    train(spoilt(tiny_config(pack)), tmp_path)
    assert_same_tensors(tmp_path / "model.safetensors", noisy / "model.safetensors")
    assert_same_tensors(newest(tmp_path), newest(noisy))
    told = [record for record in read_log(tmp_path / "log.jsonl") if record["step"] == 0]
    assert len(told) == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"label_noise": 0.3}, "data.label_noise"),
        ({"low_quality": 0.0}, "data.low_quality"),
        ({"corruption_seed": 4}, "data.corruption_seed"),
        ({"label_noise": 0.0, "low_quality": 0.0}, "data.fingerprint"),
    ],
)
def test_a_run_with_other_noise_does_not_go_on(
    pack: Path, noisy: Path, changes: dict[str, float], named: str
) -> None:
    with pytest.raises(CheckpointMismatchError, match=named):
        train(spoilt(tiny_config(pack), **changes), noisy)


def test_two_processes_see_the_labels_that_one_does(pack: Path, tmp_path: Path) -> None:
    config = spoilt(exact(pack, steps=3))
    train(config, tmp_path / "one")
    run_on(2, together.train_each, [(config.to_dict(), tmp_path / "two")])
    assert_equal_runs(tmp_path / "two", tmp_path / "one")
    for name in ("config.json", "corruption.csv"):
        assert (tmp_path / "two" / name).is_file()
    texts = [(tmp_path / run / "corruption.csv").read_text() for run in ("one", "two")]
    assert texts[0] == texts[1]


def test_the_loss_and_the_seed_of_a_run_change_no_label(pack: Path) -> None:
    config = spoilt(tiny_config(pack))
    first = open_training_data(config)
    for changes in ({"seed": 9}, {"batch_size": 20}, {"loss": replace(config.loss, name="sface")}):
        other = open_training_data(replace(config, **changes))
        np.testing.assert_array_equal(other.labels, first.labels)
        assert other.fingerprint == first.fingerprint


def test_bad_pictures_come_without_wrong_labels_too(pack: Path) -> None:
    faces = open_training_data(spoilt(tiny_config(pack), label_noise=0.0))
    assert isinstance(faces, CorruptedFaces)
    assert (faces.is_low_quality.sum(), faces.is_flipped.sum()) == (24, 0)


def test_the_report_is_what_a_slow_look_finds(noisy: Path) -> None:
    report = noise_report(noisy, resamples=50)
    faces = open_training_data(read_config(noisy))
    assert isinstance(faces, CorruptedFaces)
    network, _ = load_model(noisy / "model.safetensors")
    network.eval()
    vectors = tensors_of(newest(noisy))["head/prototypes"].double()
    found: dict[str, list[tuple[float, ...]]] = {"clean": [], "flipped": []}
    for index, (given, true) in enumerate(zip(faces.labels, faces.true_labels, strict=True)):
        image = torch.from_numpy(faces.read([index]).transpose(0, 3, 1, 2).copy())
        with torch.no_grad():
            feature = network(to_float(image))[0].double()
        cosines = [float(torch.cosine_similarity(feature, vector, dim=0)) for vector in vectors]
        best = max(range(len(cosines)), key=cosines.__getitem__)
        row = (cosines[given], cosines[true], float(best == given), float(best == true))
        found["clean" if given == true else "flipped"].append(row)
    assert {name: len(rows) for name, rows in found.items()} == {"clean": 36, "flipped": 12}
    for name, rows in found.items():
        group = report["groups"][name]
        assert group["pictures"] == len(rows)
        told = [
            group[key]["value"]
            for key in ("given_cosine", "true_cosine", "nearest_is_given", "nearest_is_true")
        ]
        np.testing.assert_allclose(told, np.mean(rows, axis=0), atol=1e-5)
    by_quality = [report["groups"][name]["pictures"] for name in ("good", "damaged")]
    assert by_quality == [24, 24]
    assert report["corruption"]["flipped"] == 12


def test_labels_learnt_by_heart_show(pack: Path, tmp_path: Path) -> None:
    """On six easy patterns the wrong labels are not believed at first: the true class is nearer."""
    config = tiny_config(pack, steps=60, checkpoint_every_steps=None, ema_decay=None)
    config = replace(config, data=DataConfig(path=pack, label_noise=0.2))
    train(config, tmp_path)
    groups = noise_report(tmp_path, resamples=50)["groups"]
    assert groups["clean"]["given_cosine"]["value"] > 0.5
    assert groups["clean"]["given_cosine"] == groups["clean"]["true_cosine"]
    flipped = groups["flipped"]
    assert flipped["true_cosine"]["value"] > flipped["given_cosine"]["value"] + 0.3
    assert flipped["nearest_is_true"]["value"] > 0.8


def test_a_clean_run_has_one_group(whole: Path) -> None:
    report = noise_report(whole, resamples=50)
    assert report["corruption"] is None
    assert list(report["groups"]) == ["clean"]


def test_the_report_refuses_other_data_and_unfinished_runs(
    pack: Path, noisy: Path, tmp_path: Path
) -> None:
    other = open_training_data(spoilt(tiny_config(pack), corruption_seed=8))
    with pytest.raises(DataError, match="was trained on, fingerprint"):
        noise_report(noisy, faces=other)
    (tmp_path / "config.json").write_text((noisy / "config.json").read_text())
    with pytest.raises(CheckpointMismatchError, match="finished run with its checkpoint"):
        noise_report(tmp_path)
    with pytest.raises(CheckpointMismatchError, match=r"must be a run's folder, with config\.json"):
        noise_report(tmp_path / "nowhere")


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without the run's device")
def test_a_run_from_another_device_is_looked_at_here(
    pack: Path, noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(noisy, tmp_path / "run")
    content = json.loads((noisy / "config.json").read_text())
    content["config"]["device"] = "cuda"
    (tmp_path / "run" / "config.json").write_text(json.dumps(content))
    assert noise_report(tmp_path / "run", resamples=50) == noise_report(noisy, resamples=50)
    words = ["noise", str(tmp_path / "run"), "--resamples", "50", "--data", str(pack)]
    assert run_words(words) == 0
    capsys.readouterr()
    words[1] = str(tmp_path / "nowhere")
    assert run_words(words) == 1
    assert "nowhere must be a run's folder, with config.json" in capsys.readouterr().err


def test_the_command_shows_the_groups(
    pack: Path, noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "noise.json"
    moved = shutil.copytree(pack, tmp_path / "moved.pack")
    words = ["noise", str(noisy), "--resamples", "50", "--data", str(moved)]
    assert run_words([*words, "--json", str(target)]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("flipped", "damaged", "true class"))
    assert json.loads(target.read_text())["groups"]["flipped"]["pictures"] == 12


SHORT = ["--recipe", "demo", "--steps", "2", "--batch-size", "8", "--backbone.input-size", "32"]


def test_flags_reach_the_run(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(pack), str(tmp_path / "run"), "--data.label-noise"]
    assert run_words([*words, "1.5"]) == 2
    assert "label_noise must be a share in [0, 1), got 1.5" in capsys.readouterr().err
    assert run_words([*words, "0.25", *SHORT]) == 0
    assert (tmp_path / "run" / "corruption.csv").is_file()
