"""A process that dies or hangs: the others are told, and the last checkpoint is whole."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from torch.distributed import TCPStore

from marginface.errors import ProcessGroupError
from marginface.training.checkpoint import all_checkpoints, read_state
from marginface.training.processes import joined_processes
from tests.processes import run_on
from tests.training import together
from tests.training.tiny import assert_same_tensors, newest, tiny_config


@pytest.fixture(scope="module")
def whole(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on two processes that nothing has stopped."""
    folder = tmp_path_factory.mktemp("whole-of-two")
    run_on(2, together.train_each, [(tiny_config(pack).to_dict(), folder)])
    return folder


def run_with_death(told: dict[str, Any], folder: Path, *place: Any, processes: int = 2) -> str:
    """Train until one process kills itself; return what the test helper says of all of them."""
    with pytest.raises(AssertionError) as failed:
        run_on(processes, together.die_in, *place, told, folder)
    return str(failed.value)


# Checkpoints are due after steps 3, 6, 9 and 12.
PLACES = [
    [("step", 2, 1), None],
    [("shards", 1, 0), None],
    [("step", 5, 0), 3],
    [("shards", 1, 1), 3],
    [("state", 1, 0), 3],
    [("removal", 2, 0), 9],
    [("model", 1, 0), 12],
]


def test_killed_anywhere_and_gone_on_bit_for_bit(pack: Path, tmp_path: Path, whole: Path) -> None:
    told = tiny_config(pack).to_dict()
    for place, step in PLACES:
        text = run_with_death(told, tmp_path, *place)
        assert f"process {place[2]} died" in text
        lost = f"process {1 - place[2]} of 2 lost another one; the last checkpoint is untouched"
        assert lost in text, text
        found = [read_state(path).step for path in all_checkpoints(tmp_path)]
        assert found[-1:] == ([] if step is None else [step]), place
        assert not (tmp_path / "model.safetensors").exists()
    run_on(2, together.train_each, [(told, tmp_path)])
    assert_same_tensors(newest(tmp_path), newest(whole))
    assert_same_tensors(tmp_path / "model.safetensors", whole / "model.safetensors")
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [3, 4])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_any_of_many_killed_anywhere(pack: Path, tmp_path: Path, processes: int, rank: int) -> None:
    told = tiny_config(pack).to_dict()
    run_on(processes, together.train_each, [(told, tmp_path / "whole")])
    for kind, number in (("step", 1), ("shards", 1), ("step", 4), ("shards", 1), ("step", 8)):
        run_with_death(told, tmp_path / "cut", kind, number, rank, processes=processes)
    run_on(processes, together.train_each, [(told, tmp_path / "cut")])
    assert_same_tensors(newest(tmp_path / "cut"), newest(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_killed_at_random_times_and_gone_on_bit_for_bit(
    pack: Path, tmp_path: Path, processes: int
) -> None:
    # Ever more checkpoints, so that many a kill falls into one.
    changes = {"steps": 60, "checkpoint_every_steps": 2}
    told = tiny_config(pack, **changes).to_dict()
    run_on(processes, together.train_each, [(told, tmp_path / "whole")])
    draw = random.Random(processes)
    # Six sittings of ten steps at the most, so that in each of them one is killed.
    for _ in range(6):
        step, share, rank = draw.randint(3, 7), draw.uniform(0.01, 2), draw.randrange(processes)
        with pytest.raises(AssertionError, match=f"process {rank} died"):
            run_on(processes, together.die_after, step, share, rank, told, tmp_path / "cut")
    run_on(processes, together.train_each, [(told, tmp_path / "cut")])
    assert_same_tensors(newest(tmp_path / "cut"), newest(tmp_path / "whole"))
    models = [tmp_path / name / "model.safetensors" for name in ("cut", "whole")]
    assert_same_tensors(models[0], models[1])


def test_a_process_that_hangs_is_waited_for_no_longer_than_said(pack: Path, tmp_path: Path) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    # Long enough for the slower one of two on a busy machine to come to where they first meet.
    told = tiny_config(pack, timeout_s=10.0).to_dict()
    first, last = run_on(2, together.wait_in_vain, told, tmp_path, store.port)
    assert first.startswith("ProcessGroupError: process 0 of 2 waited 10 s for another one and")
    assert "the last checkpoint is untouched" in first
    assert "raise timeout_s if they only were slow (Timed out waiting 10000ms for " in first
    assert last == "it hung"


def test_a_failed_group_is_freed_after_its_thread_had_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Freed at once it may wait for a thread that waits for the interpreter, for ever."""
    happened: list[str] = []
    place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: happened.append("joined"))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: happened.append("freed"))
    monkeypatch.setattr("time.sleep", lambda _: happened.append("waited"))
    with (
        pytest.raises(ProcessGroupError, match="lost another one"),
        joined_processes("cpu", timeout_s=1.0),
    ):
        raise RuntimeError("gloo: Connection closed by peer")
    assert happened == ["joined", "waited", "freed"]
