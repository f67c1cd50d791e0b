"""One run at a time in a folder, and nothing of it touched by a second one."""

import errno
import fcntl
from pathlib import Path

import pytest

from marginface.errors import CheckpointWriteError
from marginface.training import train
from marginface.training.processes import ALONE, Processes
from marginface.training.sole_run import sole_run
from tests.training.tiny import tiny_config

BUSY = r"run must have one run at a time, got another that is still at work there; wait for its"


def test_a_second_run_is_kept_out_until_the_first_ends(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with sole_run(folder, ALONE):
        with pytest.raises(CheckpointWriteError, match=BUSY), sole_run(folder, ALONE):
            pass
        with sole_run(folder, Processes(rank=1, size=2)), sole_run(tmp_path / "other", ALONE):
            pass
        with pytest.raises(CheckpointWriteError, match=BUSY), sole_run(folder, ALONE):
            pass
    with sole_run(folder, ALONE):
        assert not list(folder.iterdir())


@pytest.mark.parametrize("resume", [True, False])
def test_a_second_training_touches_nothing(pack: Path, tmp_path: Path, resume: bool) -> None:
    folder = tmp_path / "run"
    files = ("log.jsonl", ".checkpoint-000003.part", "checkpoint-000003")
    with sole_run(folder, ALONE):
        for name in files:
            (folder / name).write_text("of the first")
        with pytest.raises(CheckpointWriteError, match=BUSY):
            train(tiny_config(pack), folder, resume=resume)
        assert {path.name: path.read_text() for path in folder.iterdir()} == dict.fromkeys(
            files, "of the first"
        )


def test_a_folder_that_cannot_be_locked_is_trained_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with sole_run(tmp_path, ALONE), sole_run(tmp_path, ALONE):
        pass
