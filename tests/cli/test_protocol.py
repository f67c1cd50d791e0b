"""`marginface protocol` from the words of a call to its record."""

import json

import numpy as np
import pytest

from marginface.cli.app import run
from marginface.data.bin_pack import write_bin


def encoded(rng):
    import cv2

    face = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
    return cv2.imencode(".png", face)[1].tobytes()


def test_pairs_from_features(tmp_path, capsys):
    rng = np.random.default_rng(0)
    is_mated = np.tile([True, False], 30)
    write_bin(tmp_path / "lfw.bin", [b"\x89PNG"] * 120, is_mated)
    faces = np.repeat(rng.normal(size=(60, 8)), 2, axis=0)
    faces[1::2][~is_mated] = rng.normal(size=(30, 8))
    np.save(tmp_path / "features.npy", faces + 0.5 * rng.normal(size=faces.shape))
    words = ["protocol", "pairs", "bin", str(tmp_path / "lfw.bin"), "--resamples", "20"]
    words += ["--features", str(tmp_path / "features.npy"), "--json", str(tmp_path / "r.json")]
    assert run(words) == 0
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["protocol"] == "lfw"
    assert 0.5 < record["insightface"]["mean"] <= 1
    shown = capsys.readouterr().out
    assert "30 mated and 30 non-mated pairs" in shown
    assert "as published code prints it" in shown


def test_pairs_from_a_model(tmp_path):
    rng = np.random.default_rng(1)
    write_bin(tmp_path / "t.bin", [encoded(rng) for _ in range(8)], np.tile([True, False], 2))
    words = ["protocol", "pairs", "bin", str(tmp_path / "t.bin"), "--model", "sface"]
    words += ["--resamples", "5", "--json", str(tmp_path / "r.json")]
    assert run(words) == 0
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["pairs"]["mated"] == 2
    assert record["failures"] == []


def test_wrong_numbers_are_refused_before_anything_is_embedded(tmp_path, capsys, monkeypatch):
    def embed(*words, **options):
        raise AssertionError("it began")

    monkeypatch.setattr("marginface.cli.protocol._pairs_and_rows", embed)
    words = ["protocol", "pairs", "bin", str(tmp_path / "t.bin"), "--model", "sface"]
    assert run([*words, "--fmr", "1.5"]) == 2
    assert "fmr_targets must be a fraction in (0, 1), got 1.5" in capsys.readouterr().err
    assert run([*words, "--resamples", "0"]) == 2
    assert "resamples must be at least 1, got 0" in capsys.readouterr().err


def test_ijbc_and_its_words(tmp_path, capsys):
    (tmp_path / "ijbc_face_tid_mid.txt").write_text(
        "".join(f"{n}.jpg {n} {n}\n" for n in range(1, 9))
    )
    pairs = [(a, b) for a in range(1, 5) for b in range(5, 9)]
    text = "".join(f"{a} {b} {int(b == a + 4)}\n" for a, b in pairs)
    (tmp_path / "ijbc_template_pair_label.txt").write_text(text)
    np.save(tmp_path / "f.npy", np.random.default_rng(2).normal(size=(8, 4)))
    words = ["protocol", "ijbc", "--root", str(tmp_path), "--features", str(tmp_path / "f.npy")]
    assert run([*words, "--fmr", "0.25", "--resamples", "5"]) == 2
    assert "needs ijbc_name_5pts_score.txt, got none" in capsys.readouterr().err
    assert run([*words, "--weighting", "norm", "--fmr", "0.25", "--resamples", "5"]) == 0
    assert "FNMR" in capsys.readouterr().out
    np.save(tmp_path / "scores.npy", np.ones(8))
    scored = [*words, "--faces", str(tmp_path / "scores.npy"), "--fmr", "0.25", "--resamples", "5"]
    assert run(scored) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either --features, or --model with --images"),
        (["--model", "sface"], "--model needs --images"),
    ],
)
def test_what_is_missing(tmp_path, capsys, words, message):
    (tmp_path / "pairs.csv").write_text("picture_a,picture_b,is_mated\na,b,1\na,c,0\n")
    call = ["protocol", "pairs", "csv", str(tmp_path / "pairs.csv"), *words]
    assert run(call) == 2
    assert message in capsys.readouterr().err


def test_gallery(tmp_path, capsys):
    (tmp_path / "gallery.csv").write_text("picture,identity\na,anna\nb,berta\n")
    (tmp_path / "probes.csv").write_text("picture,identity\nc,anna\nd,carla\n")
    np.save(tmp_path / "f.npy", np.eye(4))
    words = ["protocol", "gallery", str(tmp_path / "gallery.csv"), str(tmp_path / "probes.csv")]
    assert run([*words, "--features", str(tmp_path / "f.npy")]) == 0
    assert "found within a rank" in capsys.readouterr().out
