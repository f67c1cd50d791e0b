"""`marginface embed`: an array and a table whose rows belong together."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from marginface.cli.app import run
from marginface.data import PackedFaces
from marginface.recognition import Recognizer
from tests.cli.command import SMALL
from tests.training.tiny import write_pack


def test_rows_are_those_of_the_recogniser(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = write_pack(tmp_path / "patterns.pack")
    assert run(["train", str(pack), str(tmp_path / "run"), *SMALL, "--steps", "2"]) == 0
    model, out = tmp_path / "run" / "model.safetensors", tmp_path / "faces.npy"
    capsys.readouterr()
    assert run(["embed", str(model), str(pack), str(out), "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    faces = PackedFaces.open(pack)
    found = np.load(out, allow_pickle=False)
    assert found.dtype == np.float32
    assert found.shape == (record["pictures"], record["dim"]) == (len(faces), 8)
    pictures = faces.read(np.arange(len(faces)))
    recognizer = Recognizer.load(model)
    expected, norms = recognizer.embed_with_norms(pictures, flip_average=False)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with (tmp_path / "faces.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["picture"] for line in lines] == faces.names
    assert [line["person"] for line in lines] == [faces.identities[k] for k in faces.labels]
    np.testing.assert_allclose([float(line["norm"]) for line in lines], norms, rtol=1e-4)
    assert {line["failed"] for line in lines} == {""}
    assert run(["embed", str(model), str(pack), str(out), "--flip-average"]) == 0
    mirrored, _ = recognizer.embed_with_norms(pictures, flip_average=True)
    np.testing.assert_allclose(np.load(out), mirrored, atol=1e-6)


def test_an_array_is_the_only_thing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["embed", "sface", str(tmp_path), str(tmp_path / "faces.csv")]) == 2
    assert "out must end in .npy, got 'faces.csv'" in capsys.readouterr().err
