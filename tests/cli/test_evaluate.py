"""`marginface evaluate` with its further numbers, on a network and pictures of no meaning."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from marginface.backbones import make_backbone
from marginface.cli.app import run
from marginface.data import PackWriter, make_pairs, write_pairs
from marginface.recognition import ModelContract, read_contract, save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(0)
    names = [f"p{who:02d}/p{who:02d}_{shot:04d}.png" for who in range(20) for shot in (1, 2, 3)]
    with PackWriter(folder / "set.pack", size=32) as writer:
        for name in names:
            writer.add(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8), name[:3], name)
    pairs = make_pairs(names, folds=2, pairs_per_fold=30, seed=0)
    write_pairs(pairs, folder / "pairs.txt")
    rows = [f"{name},{rng.normal()},{'left' if int(name[1:3]) < 10 else 'right'}" for name in names]
    (folder / "table.csv").write_text("\n".join(["picture,blur,side", *rows]))
    contract = ModelContract(architecture="iresnet_tiny", dim=8, input_size=(32, 32))
    backbone = make_backbone("iresnet_tiny", dim=8, input_size=32)
    save_model(folder / "model.safetensors", backbone, contract)
    return folder


def evaluate(folder: Path, *words: object) -> int:
    judged = ["--images", folder / "set.pack", "--pairs", folder / "pairs.txt"]
    model = folder / "model.safetensors"
    return run(list(map(str, ["evaluate", model, *judged, "--resamples", 20, *words])))


def test_all_further_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups = ["--groups", folder / "table.csv", "--group-by", "side", "--at-fmr", 0.1]
    assert evaluate(folder, "--score", "vmf-mutual", *groups, "--json", folder / "record.json") == 0
    out = capsys.readouterr().out
    record = json.loads((folder / "record.json").read_text())
    assert record["score"]["name"] == "vmf-mutual"
    assert [row["name"] for row in record["groups"]["rows"]][:3] == ["all", "left", "right"]
    assert "score: vmf-mutual, mutual likelihood" in out
    assert "quality (length of the feature), FNMR at FMR 10 %:" in out
    random = 100 * record["rejection"]["fnmr"]["random"]
    assert f"{random:.4g} % of all pairs, " in out
    assert "By side, one threshold at FMR 10 % of all pairs" in out
    for row in record["groups"]["rows"]:
        assert row["name"] in out


def test_what_pairs_cannot_support_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(folder, "--groups", folder / "table.csv", "--group-by", "side") == 0
    out = capsys.readouterr().out
    assert "error versus reject: not measured: FMR 0.01 cannot be seen in 60" in out
    assert "by side: not measured: FMR 0.01 cannot be seen in 60" in out


def test_numbers_are_cut_into_bins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups = ["--groups", folder / "table.csv", "--group-by", "blur", "--at-fmr", 0.1]
    assert evaluate(folder, *groups, "--bins", 2, "--json", "-") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["groups"]["bins"] == 2
    names = [row["name"] for row in record["groups"]["rows"]]
    assert [" to " in name for name in names] == [False, True, True, False]


def test_a_threshold_is_frozen_into_a_copy(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "fixed.safetensors"
    assert evaluate(folder, "--freeze-fmr", 0.1, "--out-model", out) == 0
    said = capsys.readouterr()
    threshold = read_contract(out).threshold
    assert threshold is not None
    assert threshold.fixed_on == "pairs.txt, 60 non-mated pairs"
    assert threshold.fmr == 0.1
    assert "rule of 30 asks for 300 pairs" in said.err
    assert read_contract(folder / "model.safetensors").threshold is None


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--groups", "table.csv"], 2, "--groups FILE and --group-by COLUMN go together"),
        (["--group-by", "side"], 2, "--groups FILE and --group-by COLUMN go together"),
        (["--freeze-fmr", "0.1"], 2, "--freeze-fmr and --out-model go together"),
        (["--score", "cosin"], 2, "did you mean 'cosine'"),
        (["--freeze-fmr", "0.001", "--out-model", "never.safetensors"], 1, "least 3,000 .*got 60"),
        (["--groups", "table.csv", "--group-by", "sid"], 1, "did you mean 'side'"),
        (["--groups", "none.csv", "--group-by", "side"], 1, "none.csv could not be read"),
    ],
)
def test_what_it_refuses(
    folder: Path,
    words: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert evaluate(folder, *words) == code
    err = capsys.readouterr().err
    assert re.search(message, err), err
    assert len(err.strip().splitlines()) == 1, err
    assert not (folder / "never.safetensors").exists()
