"""The log after a kill: nothing twice, nothing half."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from marginface.errors import CheckpointWriteError
from marginface.training.runlog import RunLog, read_log


def write_steps(run_dir: Path, start: int, end: int) -> None:
    with RunLog(run_dir, step=start, keeps_tensorboard=False) as log:
        for step in range(start + 1, end + 1):
            log.write({"step": step, "loss": 1 / step}, group="train")


def test_resuming_drops_what_is_done_again(tmp_path: Path) -> None:
    write_steps(tmp_path, 0, 7)
    write_steps(tmp_path, 4, 9)
    assert [record["step"] for record in read_log(tmp_path / "log.jsonl")] == list(range(1, 10))


def test_a_line_cut_by_a_kill_is_dropped(tmp_path: Path) -> None:
    write_steps(tmp_path, 0, 3)
    path = tmp_path / "log.jsonl"
    path.write_text(path.read_text()[:-9])
    assert [record["step"] for record in read_log(path)] == [1, 2]
    write_steps(tmp_path, 2, 3)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_every_record_is_on_the_disk_at_once(tmp_path: Path) -> None:
    with RunLog(tmp_path, step=0, keeps_tensorboard=False) as log:
        log.write({"step": 1, "loss": 0.5}, group="train")
        assert read_log(tmp_path / "log.jsonl") == [{"step": 1, "loss": 0.5}]


def test_validation_metrics_become_events(tmp_path: Path) -> None:
    with RunLog(tmp_path, step=0, keeps_tensorboard=True) as log:
        log.write({"step": 1, "loss": 0.5}, group="train")
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"train/loss" in events.read_bytes()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RunLog(tmp_path, step=0, keeps_tensorboard=False) as log:
        log.write({"step": 1, "loss": 0.5}, group="train")
        size = (tmp_path / "log.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, hard))
        try:
            with pytest.raises(CheckpointWriteError, match=r"log.jsonl could not be written \("):
                log.write({"step": 2, "loss": 0.5}, group="train")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_log(tmp_path / "log.jsonl") == [{"step": 1, "loss": 0.5}]


@pytest.mark.parametrize("name", ["log.jsonl", "tensorboard"])
def test_a_log_that_cannot_be_opened_is_told(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "tensorboard":
        (tmp_path / name).write_text("in the way")
    else:
        (tmp_path / name).touch()
        opened = Path.open

        def refuse(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if path.name == name and mode == "ab":
                raise PermissionError(13, "Permission denied", str(path))
            return opened(path, mode, *rest, **options)

        monkeypatch.setattr(Path, "open", refuse)
    told = rf"^{tmp_path}/{name} could not be written .* the last checkpoint is untouched; free"
    with pytest.raises(CheckpointWriteError, match=told):
        RunLog(tmp_path, step=0, keeps_tensorboard=True)


def test_a_log_of_something_else_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 1.0}\n[1]\n{"step": 2, "loss": 0.5}\n')
    write_steps(tmp_path, 2, 3)
    assert [record["step"] for record in read_log(tmp_path / "log.jsonl")] == [1, 3]
