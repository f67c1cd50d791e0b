"""Depth judged against the truth of the procedural world, and the command that shows it."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from marginface.cli.app import run
from marginface.comparison import depth_study
from marginface.comparison.depth_study import judge_depth, true_depth
from marginface.comparison.trained import TrainedReconstruction
from marginface.data import PackedFaces, generate_world
from marginface.errors import DataError, ModelFileError
from marginface.reconstruction import ReconstructionConfig
from marginface.reconstruction.portrait import PANELS
from marginface.training import train
from tests.training.tiny import tiny_config, write_pack


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> PackedFaces:
    out = tmp_path_factory.mktemp("world") / "people.pack"
    return generate_world(out, identities=4, images_per_identity=4, size=32, workers=1)


@pytest.fixture(scope="module")
def joint_run(world: PackedFaces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "joint"
    config = tiny_config(
        world.path,
        batch_size=8,
        steps=2,
        accumulate=1,
        reconstruction=ReconstructionConfig(size=32, width=8, decoder_input="layer2", planes=12),
    )
    train(config, out, is_quiet=True)
    return out


def test_a_perfect_prediction_has_no_error(
    world: PackedFaces, joint_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = TrainedReconstruction.open(joint_run)
    truth = true_depth(world, range(16), size=32)
    untrained = depth_study._drawn_depth

    def drawn(which: TrainedReconstruction, images: torch.Tensor) -> Any:
        if which is trained:
            return truth.depth * 1.1, torch.ones_like(truth.mask)
        return untrained(which, images)

    monkeypatch.setattr(depth_study, "_drawn_depth", drawn)
    record = judge_depth(trained, world, resamples=50)
    predicted = record["methods"]["predicted"]
    assert predicted["scale_invariant_depth_error"]["value"] < 1e-6
    assert record["methods"]["flat"]["scale_invariant_depth_error"]["value"] > 0.01
    assert record["minus"]["flat"]["scale_invariant_depth_error"]["high"] < 0
    assert record["share_of_head_seen"] == pytest.approx(1)


def test_baselines_by_hand(world: PackedFaces, joint_run: Path) -> None:
    trained = TrainedReconstruction.open(joint_run)
    record = judge_depth(trained, world, resamples=50)
    truth = true_depth(world, range(16), size=32)
    _, seen = depth_study._drawn_depth(trained, trained.take_in(world.read(list(range(16)))))
    mask = (truth.mask & seen).numpy()
    flat = [np.std(np.log(d[m])) for d, m in zip(truth.depth.numpy(), mask, strict=True)]
    shown = record["methods"]["flat"]["scale_invariant_depth_error"]["value"]
    assert shown == pytest.approx(np.mean(flat), rel=1e-4)
    assert record["pictures"] == 16
    assert record["identities"] == 4


def test_truth_is_of_the_world_alone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a pack of the procedural world"):
        true_depth(PackedFaces.open(write_pack(tmp_path / "p")), [0], size=32)


def test_a_run_without_reconstruction_is_named(world: PackedFaces, tmp_path: Path) -> None:
    train(tiny_config(world.path, batch_size=8, steps=1), tmp_path / "plain", is_quiet=True)
    with pytest.raises(ModelFileError, match="train with reconstruction"):
        TrainedReconstruction.open(tmp_path / "plain")


def test_the_command_writes_a_sheet_and_a_record(
    world: PackedFaces, joint_run: Path, tmp_path: Path
) -> None:
    out, record = tmp_path / "sheet.png", tmp_path / "depth.json"
    words = ["render", str(joint_run), str(world.path), "--count", "3", "--out", str(out)]
    assert run([*words, "--judged", "8", "--json", str(record)]) == 0
    sheet = cv2.imread(str(out))
    assert sheet.shape[0] > 3 * 128
    assert sheet.shape[1] > (len(PANELS) + 2) * 128
    assert set(json.loads(record.read_text())["depth"]["methods"]) == set(depth_study.METHODS)


def test_the_command_takes_aligned_photos(
    world: PackedFaces, joint_run: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "face.png"
    cv2.imwrite(str(photo), world.read([0])[0][:, :, ::-1])
    out = tmp_path / "sheet.png"
    assert run(["render", str(joint_run), str(photo), "--aligned", "--out", str(out)]) == 0
    assert cv2.imread(str(out)).shape[1] < (len(PANELS) + 1) * 140


def test_the_command_refuses_nothing(joint_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", str(joint_run)]) == 2
    assert "PICTURES" in capsys.readouterr().err.upper()
