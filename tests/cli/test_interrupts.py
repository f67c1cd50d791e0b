"""Ctrl-C, SIGTERM and SIGKILL on a real command: what was trained stays, nothing stays behind."""

import os
import signal
from pathlib import Path

import pytest

from marginface.cli.app import run
from marginface.training.checkpoint import all_checkpoints
from tests.cli.command import (
    PATIENCE_S,
    SMALL,
    ends_in_one_line,
    has_begun,
    processes_of,
    started,
    wait_until,
)
from tests.training.tiny import write_pack

LOSSES = ("softmax", "arcface")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Words that compare two losses, two at a time, on people apart from the trained ones."""
    folder = tmp_path_factory.mktemp("study")
    pack = write_pack(folder / "patterns.pack")
    (folder / "train.txt").write_text("person_0\nperson_1\nperson_2\n")
    (folder / "val.txt").write_text("person_3\nperson_4\nperson_5\n")
    pairs = ["data", "pairs", str(pack), str(folder / "pairs.txt"), "--folds", "1"]
    pairs += ["--pairs-per-fold", "20", "--identities", str(folder / "val.txt")]
    assert run(pairs) == 0
    words = ["compare", str(pack), "OUT", "--pairs", str(folder / "pairs.txt"), *SMALL]
    words += ["--data.identities", str(folder / "train.txt"), "--losses", *LOSSES]
    return [*words, "--jobs", "2", "--resamples", "20", "--log-every", "1"]


def words_for(study: list[str], out: Path, steps: int) -> list[str]:
    return [str(out) if word == "OUT" else word for word in study] + ["--steps", str(steps)]


def runs_of(out: Path) -> list[Path]:
    return [out / "runs" / loss / "seed-0" for loss in LOSSES]


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_to_the_parent_saves_every_run(
    study: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    with started(*words_for(study, tmp_path, 100_000)) as child:
        wait_until(lambda: all(map(has_begun, runs_of(tmp_path))), child)
        child.send_signal(number)
        code, told = ends_in_one_line(child)
        assert not processes_of(child.pid)
    assert code == 130
    assert "stopped with 0 of 2 runs trained" in told
    assert "run the same command again to go on" in told
    assert all(all_checkpoints(folder) for folder in runs_of(tmp_path))


@pytest.mark.slow
def test_workers_of_a_killed_parent_save_and_end(study: list[str], tmp_path: Path) -> None:
    with started(*words_for(study, tmp_path, 100_000)) as child:
        wait_until(lambda: all(map(has_begun, runs_of(tmp_path))), child)
        child.kill()
        child.communicate(timeout=PATIENCE_S)  # the workers hold the pipes until they end
    assert all(all_checkpoints(folder) for folder in runs_of(tmp_path))


@pytest.mark.slow
def test_ctrl_c_while_the_workers_start_is_quiet_and_the_same_command_finishes(
    study: list[str], tmp_path: Path
) -> None:
    words = words_for(study, tmp_path, 6)
    with started(*words) as child:
        wait_until(lambda: len(processes_of(child.pid)) >= 4, child)  # parent, tracker, two workers
        os.killpg(child.pid, signal.SIGINT)  # as the terminal does
        code, _ = ends_in_one_line(child)
    assert code == 130
    words[words.index("--jobs") + 1] = "1"
    assert run(words) == 0
    assert (tmp_path / "report.html").is_file()
