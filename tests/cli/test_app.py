"""The command line as a user meets it: exit codes, one-line messages, help."""

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from marginface.cli.app import app, data, run
from marginface.cli.gallery import gallery
from marginface.cli.protocol import protocol
from marginface.losses import LOSSES
from tests.training.tiny import write_pack

COMMANDS = [
    "demo",
    "train",
    "compare",
    "export",
    "evaluate",
    "embed",
    "verify",
    "enroll",
    "identify",
    "losses",
    "recipes",
    "report",
    "render",
    "noise",
    "doctor",
    *(
        f"data {name}"
        for name in ("pack", "split", "pairs", "world", "sheet", "convert", "inspect")
    ),
    *(f"gallery {name}" for name in ("index", "list", "remove")),
    *(f"protocol {name}" for name in ("gallery", "ijbb", "ijbc", "megaface", "pairs", "tinyface")),
]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("cli") / "patterns.pack")


def fails(capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str) -> None:
    assert run(words) == code
    out, err = capsys.readouterr()
    assert re.search(message, err), err
    assert len(err.strip().splitlines()) == 1, err
    assert "Traceback" not in out + err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert "Examples" in text
    assert f"marginface {command}" in text


def test_the_list_of_commands_is_known() -> None:
    found = [name for name in app if not name.startswith("-")]
    for group, commands in (("data", data), ("gallery", gallery), ("protocol", protocol)):
        found.remove(group)
        found += [f"{group} {name}" for name in commands if not name.startswith("-")]
    assert sorted(found) == sorted(COMMANDS)


def test_the_lists_say_what_each_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    for table in ([], ["data"], ["protocol"], ["gallery"]):
        assert run([*table, "--help"]) == 0
        lines = capsys.readouterr().out.splitlines()
        entries = [line for line in lines if re.match(r"│ [a-z]", line)]
        assert len(entries) >= 2
        for line in entries:
            assert re.match(r"│ [a-z]+ +[A-Z]\w+", line), line


def test_losses_lists_the_whole_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["losses", "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record) == list(LOSSES)
    assert record["arcface"]["defaults"]["margin_rad"] == 0.5
    assert run(["losses"]) == 0
    told = capsys.readouterr().out
    assert "1801.07698" in told
    assert "CE: cross-entropy of a softmax" in told


def test_losses_draws_those_that_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "forces.svg"
    assert run(["losses", "softmax", "sface", "--picture", str(picture)]) == 0
    assert "arcface" not in capsys.readouterr().out
    assert ">sface<" in picture.read_text()
    assert run(["losses", "sfase"]) == 2
    assert "did you mean 'sface'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["losess"], 2, "losess"),
        (["train", "absent.pack", "out"], 1, "absent.pack"),
        (["train", "absent.pack", "out", "--loss.nam", "x"], 2, "loss.nam"),
        (["train", "absent.pack", "out", "--recipe", "smal"], 2, "did you mean 'small'"),
        (["train", "a.pack", "out", "--optimizer.lr", "fast"], 2, "lr"),
        (["train", "a.pack", "out", "--optimizer.lr", "-1"], 2, "optimizer.lr must be"),
        (["data", "pack", "absent", "out"], 1, "absent"),
        (["evaluate", "sfase", "--images", "a", "--pairs", "b"], 2, "did you mean 'sface'"),
        (["evaluate", "no.safetensors", "--images", "a", "--pairs", "b"], 1, "no.safetensors"),
        (["report", "absent.json"], 1, "results must be the results.json"),
    ],
)
def test_wrong_words_end_in_one_line(
    words: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    fails(capsys, words, code, message)
    assert not (tmp_path / "out").exists()


def test_train_then_evaluate_then_report(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    small = [
        "--backbone.dim",
        "8",
        "--backbone.input-size",
        "32",
        "--batch-size",
        "8",
        "--steps",
        "3",
    ]
    small += ["--backbone.options.dropout", "0.0", "--loss.name", "sface"]
    assert run(["train", str(pack), str(out), *small, "--json", str(tmp_path / "r.json")]) == 0
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["steps"] == 3
    assert record["config"]["loss"]["name"] == "sface"
    pairs = tmp_path / "pairs.txt"
    assert (
        run(["data", "pairs", str(pack), str(pairs), "--folds", "2", "--pairs-per-fold", "9"]) == 0
    )
    words = ["evaluate", record["model"], "--images", str(pack), "--pairs", str(pairs)]
    capsys.readouterr()
    assert run([*words, "--resamples", "20", "--json", "-"]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert set(judged["metrics"]["accuracy"]) == {"value", "low", "high"}
    assert judged["failure_to_acquire"] == 0
    # Every non-mated pair is too few for 1 in 1,000, and that is said rather than guessed.
    assert "fnmr_at_fmr_0.001" in judged["refused"]


def test_data_commands_give_records(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def record_of(*words: object) -> dict[str, Any]:
        assert run(["data", *map(str, words), "--json", "-"]) == 0
        record: dict[str, Any] = json.loads(capsys.readouterr().out)
        return record

    parted = record_of("split", pack, tmp_path, "--val-count", "2")
    assert [parted[name]["identities"] for name in ("train", "val")] == [4, 2]
    options = ("--folds", 2, "--pairs-per-fold", 9)
    drawn = record_of("pairs", pack, tmp_path / "pairs.txt", *options)
    assert (drawn["pairs"], drawn["mated"], drawn["identities"]) == (36, 18, 6)
    small = ("--identities", 2, "--images", 2, "--size", 32)
    made = record_of("world", tmp_path / "world.pack", *small)
    assert (made["images"], made["identities"]) == (4, 2)
    drawn = record_of("sheet", pack, tmp_path / "sheet.png", "--people", 3, "--pictures", 2)
    assert (drawn["pictures"], drawn["people"]) == (6, 3)


@pytest.mark.parametrize(
    ("command", "message"),
    [("data", "nothing was left half made; run it again"), ("train", "goes on where it was")],
)
def test_ctrl_c_says_what_is_left(
    command: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*words: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("marginface.cli.app.app", interrupted)
    fails(capsys, [command], 130, message)


def test_split_and_sheet(pack: Path, tmp_path: Path) -> None:
    assert run(["data", "split", str(pack), str(tmp_path), "--val-count", "2"]) == 0
    train = (tmp_path / "train_identities.txt").read_text().split()
    val = (tmp_path / "val_identities.txt").read_text().split()
    assert len(train) == 4
    assert not set(train) & set(val)
    sheet = tmp_path / "sheet.png"
    words = ["data", "sheet", str(pack), str(sheet), "--people", "2", "--pictures", "3"]
    assert run([*words, "--side", "32"]) == 0
    picture = cv2.imread(str(sheet))
    assert picture.shape[1] >= 3 * 32
    assert np.ptp(picture) > 0
