"""`marginface train --plan`, and what a run says of memory before it starts."""

import json
from pathlib import Path

import pytest

from marginface.cli.app import run
from tests.training.tiny import IDENTITIES, write_pack

SMALL = ["--backbone.dim", "8", "--backbone.input-size", "32", "--batch-size", "8"]


def test_a_plan_needs_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", str(tmp_path / "absent.pack"), str(tmp_path / "run"), *SMALL]
    assert run([*words, "--plan", "--identities", "2000000", "--epochs", "3", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert record["identities"] == 2_000_000
    assert record["hours"] is None
    head = next(part for part in record["parts"] if part["name"] == "head")
    assert head["kept_bytes"] == 2 * 4 * 8 * 2_000_000
    assert record["peak_bytes"] == sum(part["peak_bytes"] for part in record["parts"])
    assert record["config"]["batch_size"] == 8
    assert [one["setting"] for one in record["advice"]] == [
        *("head.chunk", "head.updates_in_walk", "processes", "head.sample_rate", "head.precision")
    ]
    assert "no set is open" in err
    assert not (tmp_path / "run").exists()


def test_a_plan_of_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = write_pack(tmp_path / "patterns.pack")
    assert run(["train", str(pack), str(tmp_path / "run"), *SMALL, "--steps", "9", "--plan"]) == 0
    text = capsys.readouterr().out
    assert f"{IDENTITIES} identities" in text
    assert "for 9 steps" in text
    for word in ("backbone", "at the peak", "advised", "it fits", "images/s"):
        assert word in text
    assert not (tmp_path / "run").exists()


def test_a_plan_of_one_process_of_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", str(tmp_path / "absent.pack"), str(tmp_path / "run"), *SMALL, "--nproc", "4"]
    assert run([*words, "--plan", "--identities", "1000000", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    head = next(part for part in record["parts"] if part["name"] == "head")
    assert (record["processes"], head["kept_bytes"]) == (4, 2 * 4 * 8 * 250_000)
    assert "communication takes no time in it" in err


def test_identities_are_for_plans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = write_pack(tmp_path / "patterns.pack")
    assert run(["train", str(pack), str(tmp_path / "run"), *SMALL, "--identities", "9"]) == 2
    assert "identities must go with --plan, got 9" in capsys.readouterr().err


def test_a_run_that_may_not_fit_is_warned_of_and_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marginface.training.plan.free_bytes", lambda device: 0)
    pack = write_pack(tmp_path / "patterns.pack")
    words = ["train", str(pack), str(tmp_path / "run"), *SMALL, "--no-keeps-tensorboard"]
    assert run([*words, "--steps", "2"]) == 0
    out, err = capsys.readouterr()
    assert "2 steps" in out
    assert "this run may need" in err
    assert "--plan" in err


def test_processes_of_torchrun_are_not_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marginface.training.plan.free_bytes", lambda device: 0)
    monkeypatch.setenv("RANK", "0")
    pack = write_pack(tmp_path / "patterns.pack")
    words = ["train", str(pack), str(tmp_path / "run"), *SMALL, "--no-keeps-tensorboard"]
    assert run([*words, "--steps", "1"]) == 0
    assert "may need" not in capsys.readouterr().err
