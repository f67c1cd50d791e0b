"""`marginface export` with its report, and `--engine`: what is refused, and in which words."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from marginface.backbones import make_backbone
from marginface.cli.app import run
from marginface.data import PackWriter, make_pairs, write_pairs
from marginface.recognition import ModelContract, Recognizer, save_model, save_onnx

Fails = Callable[[list[object], int, str], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy")
    rng = np.random.default_rng(0)
    names = []
    with PackWriter(folder / "set.pack", size=32) as writer:
        for who in range(14):
            pattern = rng.integers(30, 226, (4, 4, 3)).repeat(8, axis=0).repeat(8, axis=1)
            for shot in (1, 2, 3):
                names.append(f"p{who:02d}/p{who:02d}_{shot:04d}.png")
                face = pattern + rng.integers(-3, 4, (32, 32, 3))
                writer.add(face.astype(np.uint8), names[-1][:3], names[-1])
    write_pairs(make_pairs(names[:24], folds=2, pairs_per_fold=10), folder / "pairs.txt")
    (folder / "others.txt").write_text("p12\np13\np11\np10\np09\np08\n")
    (folder / "overlap.txt").write_text("p12\np00\n")
    torch.manual_seed(0)
    contract = ModelContract(architecture="iresnet_tiny", dim=16, input_size=(32, 32))
    backbone = make_backbone("iresnet_tiny", dim=16, input_size=32)
    save_model(folder / "model.safetensors", backbone, contract)
    save_onnx(folder / "model.onnx", backbone, contract)
    return folder


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    def check(words: list[object], code: int, message: str) -> None:
        capsys.readouterr()
        assert run(list(map(str, words))) == code
        err = capsys.readouterr().err
        assert re.search(message, err), err
        assert len(err.strip().splitlines()) == 1, err

    return check


def int8(folder: Path, out: Path, *words: object) -> list[object]:
    judged = ["--images", folder / "set.pack", "--pairs", folder / "pairs.txt"]
    start = ["export", folder / "model.safetensors", out, "--precision", "int8"]
    return [*start, *judged, "--resamples", 20, *words]


def test_int8_with_its_report(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = int8(folder, tmp_path / "small.onnx", "--tolerance", 0.3)
    words += ["--identities", folder / "others.txt", "--json", tmp_path / "record.json"]
    assert run(list(map(str, words))) == 0
    out = capsys.readouterr().out
    record = json.loads((tmp_path / "record.json").read_text())
    report = json.loads((tmp_path / "small.parity.json").read_text())
    assert record["precision"] == report["precision"] == "int8"
    assert record["calibration"]["faces"] == 18
    assert "18 faces" in out
    assert re.search(r"accuracy lost, at most .* of 0\.3 allowed", out)
    assert re.search(r"Accuracy +pairs\.txt, 40 +\d+\.\d\d % to ", out)
    assert Recognizer.load(tmp_path / "small.onnx").contract.dim == 16


def test_int8_that_cannot_be_judged_or_calibrated(
    folder: Path, tmp_path: Path, fails: Fails
) -> None:
    out = tmp_path / "small.onnx"
    start = ["export", folder / "model.safetensors", out, "--precision", "int8"]
    fails(start, 2, "int8 changes the features, so images and pairs must be given .* no images")
    fails([*start, "--images", folder / "set.pack"], 2, "must be given .* got no pairs")
    fails(int8(folder, out), 2, r"tolerance 0\.005 needs at least 600 pairs")
    overlap = ["--tolerance", 0.3, "--identities", folder / "overlap.txt"]
    fails(int8(folder, out, *overlap), 1, "calibrated and judged on, got 1 people in both, 'p00'")
    absent = ["--images", folder / "nowhere", "--pairs", folder / "pairs.txt"]
    fails([*start, *absent], 1, "nowhere must be a folder with one folder per person")
    absent = ["--images", folder / "set.pack", "--pairs", folder / "absent.txt"]
    fails([*start, *absent], 1, r"pair list .*absent.txt could not be read")
    assert not list(tmp_path.iterdir())


def test_words_that_do_not_go_together(folder: Path, tmp_path: Path, fails: Fails) -> None:
    start = ["export", folder / "model.safetensors"]
    weights = tmp_path / "model.safetensors"
    fails([*start, weights, "--precision", "int8"], 2, "precision, images and pairs go with an")
    fails([*start, tmp_path / "m.pb", "--images", folder], 2, r"go with an \.onnx file, got ")
    fails([*start, tmp_path / "m.pb"], 2, r"out must end in \.safetensors or \.onnx, got .*m\.pb")
    fails([*start, weights], 1, "model.safetensors must be a run's folder .*, got no folder")
    fails([*start, tmp_path / "m.onnx", "--precision", "int3"], 2, "one of float32, int8")
    alone = ["--identities", folder / "others.txt"]
    fails([*start, tmp_path / "m.onnx", *alone], 2, "identities are who int8 is calibrated on")
    fails([*start, tmp_path / "m.onnx", "--engine", "tflite"], 2, "engine must be one of onnxr")
    assert not list(tmp_path.iterdir())


def test_an_engine_is_asked_for_by_name(folder: Path, tmp_path: Path, fails: Fails) -> None:
    start = ["embed", folder / "model.onnx", folder / "set.pack", tmp_path / "faces.npy"]
    fails([*start, "--engine", "openvin"], 2, "did you mean 'openvino'")
    start[1] = folder / "model.safetensors"
    fails([*start, "--engine", "onnxruntime"], 2, "engine must be left out for .*, which PyTorch")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["verify", "identify", "enroll", "embed", "evaluate", "export"])
def test_without_openvino(
    command: str, folder: Path, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    model, faces, out = folder / "model.onnx", folder / "set.pack", tmp_path / "out.npy"
    picture = Path(__file__).parents[1] / "pictures/barack_obama/barack_obama_0001.jpg"
    words: dict[str, list[object]] = {
        "verify": [model, picture, picture],
        "identify": [model, out, picture],
        "enroll": [model, out, faces],
        "embed": [model, faces, out],
        "evaluate": [model, "--images", faces, "--pairs", folder / "pairs.txt"],
        "export": [folder / "model.safetensors", tmp_path / "out.onnx"],
    }
    message = r"engine openvino needs openvino, .*pip install 'marginface\[openvino\]'"
    fails([command, *words[command], "--engine", "openvino"], 1, message)
    assert not list(tmp_path.iterdir())
