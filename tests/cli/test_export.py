"""`marginface export`: what a run learnt, for this library and for others."""

import json
from pathlib import Path

import numpy as np
import pytest

from marginface.cli.app import run
from marginface.recognition import Recognizer, export_onnx
from tests.cli.command import SMALL
from tests.training.tiny import write_pack


def test_a_run_and_its_model_file_become_the_same_onnx_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = write_pack(tmp_path / "patterns.pack")
    words = ["train", str(pack), str(tmp_path / "run"), *SMALL, "--steps", "2"]
    assert run(words) == 0
    model = tmp_path / "run" / "model.safetensors"
    assert run(["export", str(tmp_path / "run"), str(tmp_path / "of_run.onnx")]) == 0
    assert "of_run.onnx: the network of step 2 of" in capsys.readouterr().err
    assert run(["export", str(model), str(tmp_path / "of_model.onnx"), "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert 0 <= json.loads(out)["difference"] < 1e-4
    assert "its features differ from PyTorch's by" in err
    export_onnx(Recognizer.load(model), tmp_path / "by_hand.onnx")
    named = {"of_run": "step 2 of run", "of_model": model.name, "by_hand": model.name}
    for stem, name in named.items():
        assert json.loads((tmp_path / f"{stem}.parity.json").read_text())["model"] == name
        for file in (tmp_path / f"{stem}.parity.json", tmp_path / f"{stem}.onnx"):
            assert str(tmp_path).encode() not in file.read_bytes()  # no path travels with it
    faces = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    expected = Recognizer.load(model).embed_aligned(faces)
    for name in ("of_run.onnx", "of_model.onnx"):
        found = Recognizer.load(tmp_path / name).embed_aligned(faces)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    capsys.readouterr()
    assert run(["export", str(tmp_path / "of_run.onnx"), str(tmp_path / "again.onnx")]) == 1
    assert "is an ONNX file already; copy it" in capsys.readouterr().err
    assert run(["export", str(model), str(tmp_path / "again.safetensors")]) == 1
    assert "must be a run's folder" in capsys.readouterr().err
