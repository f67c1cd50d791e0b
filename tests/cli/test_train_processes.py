"""`marginface train --nproc`: killed, stopped, gone on with another number, exported."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from marginface.cli.app import run
from marginface.recognition import load_model
from marginface.training.checkpoint import all_checkpoints, read_state
from tests.cli.command import (
    ENTRY,
    PATIENCE_S,
    SMALL,
    ends_in_one_line,
    processes_of,
    started,
    wait_until,
)
from tests.training.tiny import newest, write_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("processes") / "patterns.pack")


def words(pack: Path, out: Path, *more: str) -> list[str]:
    saves = ("--checkpoint-every-steps", "5", "--steps", "100000")
    return ["train", str(pack), str(out), "--backbone.name", "iresnet_tiny", *SMALL, *saves, *more]


def of_rank(rank: int, session: int) -> int:
    """Return the process with a rank among those of a command."""
    for process in processes_of(session):
        if f"\0RANK={rank}\0".encode() in Path(f"/proc/{process}/environ").read_bytes():
            return process
    raise AssertionError(f"no process {rank} of {session}")


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(pack: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started(*words(pack, out, "--nproc", "2")) as child:
        wait_until(lambda: bool(all_checkpoints(out)), child)
        child.send_signal(signal.SIGINT)
        code, told = ends_in_one_line(child)
        assert not processes_of(child.pid)
    assert (code, told[:18]) == (130, "stopped after step")
    step = int(re.search(r"stopped after step ([\d,]+) of 100,000", told)[1].replace(",", ""))
    assert read_state(newest(out)).step == step
    assert read_state(newest(out)).processes == 2


def test_a_death_then_another_number_of_processes(pack: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started(*words(pack, out, "--nproc", "2")) as child:
        wait_until(lambda: bool(all_checkpoints(out)), child)
        os.kill(of_rank(1, child.pid), signal.SIGKILL)
        code, told = ends_in_one_line(child)
        assert not processes_of(child.pid)
    assert code == 1
    assert told.startswith("process 1 of 2 was killed by SIGKILL, as when memory")
    assert f"{newest(out)}, is whole; the same command goes on from it" in told

    step = read_state(newest(out)).step
    assert run(["export", str(out), str(tmp_path / "exported.safetensors")]) == 0
    backbone, contract = load_model(tmp_path / "exported.safetensors")
    assert (contract.architecture, contract.dim) == ("iresnet_tiny", 8)
    # One process takes over the run of two; its time is over at once, so it saves the model.
    record = tmp_path / "record.json"
    taken_over = words(pack, out, "--time-limit-s", "1e-9", "--json", str(record))
    assert run(taken_over) == 0
    assert json.loads(record.read_text())["steps"] == step
    again, _ = load_model(out / "model.safetensors")
    for name, tensor in again.state_dict().items():
        assert tensor.equal(backbone.state_dict()[name])


@pytest.mark.slow
def test_processes_of_a_killed_parent_save_and_end(pack: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started(*words(pack, out, "--nproc", "2")) as child:
        wait_until(lambda: bool(all_checkpoints(out)), child)
        child.kill()
        child.communicate(timeout=PATIENCE_S)  # the processes hold the pipes until they end
    step = read_state(newest(out)).step
    assert not list(out.glob(".*.part"))
    assert step > 0


@pytest.mark.slow
def test_torchrun_starts_the_same_run(pack: Path, tmp_path: Path) -> None:
    entry = tmp_path / "entry.py"
    entry.write_text(ENTRY)
    arguments = words(pack, tmp_path / "run", "--json", str(tmp_path / "record.json"))
    arguments[arguments.index("100000")] = "6"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", str(entry), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("6 steps in") == 1
    assert json.loads((tmp_path / "record.json").read_text())["is_complete"]
    assert read_state(newest(tmp_path / "run")).processes == 2


def test_export_without_a_checkpoint_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(tmp_path), str(tmp_path / "out.safetensors")]) == 1
    assert "must be a run's folder with a checkpoint, got none in it" in capsys.readouterr().err
