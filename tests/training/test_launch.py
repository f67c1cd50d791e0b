"""What the parent of several processes makes of their ends; stand-ins that begin at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from marginface.errors import DataError, ProcessGroupError
from marginface.training import TrainingInterrupted, TrainResult, launch
from tests.training.tiny import tiny_config

# The module, which the function of the same name hides.
module: Any = sys.modules["marginface.training.launch"]

STAND_IN = """
import json, os, signal, sys, time
report, told = sys.argv[1], json.loads(sys.argv[2])
def tell(number=None, frame=None):
    if "report" in told:
        open(report, "w").write(json.dumps(told["report"]))
    if "signal" in told:
        os.kill(os.getpid(), told["signal"])
    os._exit(told["code"])
if told.get("waits"):
    ways = {"politely": tell, "rudely": signal.SIG_IGN, "unprepared": signal.SIG_DFL}
    signal.signal(signal.SIGTERM, ways[told["waits"]])
    open(report + ".waits", "w").close()
    time.sleep(600)
tell()
"""
RESULT = {
    "model_path": "run/model.safetensors",
    "steps": 3,
    "seconds": 1.0,
    "images_per_s": 2.0,
    "is_complete": True,
    "final_loss": 0.5,
}
DONE = {"code": 0, "report": {"result": RESULT}}
LOST = {"code": 1, "report": {"kind": "ProcessGroupError", "text": "process 0 of 3 lost another"}}
KILLED = {"code": 0, "signal": signal.SIGKILL}


def failing(kind: str, text: str) -> dict[str, Any]:
    return {"code": 1, "report": {"kind": kind, "text": text}}


@pytest.fixture
def outcome(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Launch processes that end as told, and send the parent a signal when all of them wait.

    However busy the machine, the parent's patience ends after all have done what they do by
    themselves: until then its clock stands still.
    """

    def launched(*ends: dict[str, Any], number: signal.Signals | None = None) -> TrainResult:
        children: list[subprocess.Popen[bytes]] = []
        reports: list[Path] = []
        signals = [] if number is None else [number]
        clock_s = 0.0

        def start(task: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
            rank = int(environment["RANK"])
            assert json.loads(task.read_text())["config"]["seed"] == 0
            reports.append(module.report_path(task, rank))
            words = [str(reports[-1]), json.dumps(ends[rank])]
            child = subprocess.Popen(
                [sys.executable, "-S", "-c", STAND_IN, *words],
                stdin=subprocess.PIPE,
                process_group=0,
            )
            children.append(child)
            return child

        def sleep(seconds: float) -> None:
            nonlocal clock_s
            time.sleep(seconds)
            if signals and all(Path(f"{report}.waits").exists() for report in reports):
                os.kill(os.getpid(), signals.pop())
            ending = [
                child
                for child, end in zip(children, ends, strict=True)
                if end.get("waits") != "rudely"
            ]
            if all(child.poll() is not None for child in ending):
                clock_s += module.GRACE_S

        watch = SimpleNamespace(monotonic=lambda: clock_s, sleep=sleep)
        monkeypatch.setattr(module, "_start", start)
        monkeypatch.setattr(module, "time", watch)
        return launch(tiny_config(pack), tmp_path, processes=len(ends))

    return launched


def test_the_result_is_that_of_the_first(outcome: Any) -> None:
    result = outcome(DONE, {"code": 0, "report": {"result": RESULT | {"seconds": 9.0}}})
    assert result == TrainResult(**RESULT | {"model_path": Path("run/model.safetensors")})


@pytest.mark.parametrize(("kind", "known"), [("DataError", DataError), ("ValueError", ValueError)])
def test_what_all_say_is_no_matter_of_processes(
    outcome: Any, kind: str, known: type[Exception]
) -> None:
    with pytest.raises(known, match=r"^it holds nothing$"):
        outcome(*[failing(kind, "it holds nothing")] * 2)


@pytest.mark.parametrize("kind", ["JSONDecodeError", "OutOfMemoryError", "UnicodeDecodeError"])
def test_what_all_say_in_words_of_others_is_told_too(outcome: Any, kind: str) -> None:
    with pytest.raises(ProcessGroupError, match=f"^all 2 processes failed with {kind}: too large;"):
        outcome(*[failing(kind, "too large")] * 2)


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        (
            [LOST, KILLED, LOST],
            "^process 1 of 3 was killed by SIGKILL, as when memory runs out; there was no check",
        ),
        (
            [LOST, LOST, failing("OSError", "gone")],
            "^process 2 of 3 failed with OSError: gone; the",
        ),
        ([LOST, {"code": 3}, LOST], "^process 1 of 3 ended with exit code 3 and told nothing; th"),
        ([LOST, failing("E", "x"), failing("E", "y")], "^process 1 of 3 failed with E: x; there"),
        (
            [LOST, {"code": 0, "waits": "rudely"}, LOST],
            "^process 0 of 3 lost another; process 1 did not end by itself and was killed; there",
        ),
        (
            [LOST, {"code": 0, "waits": "rudely"}, {"code": 0, "waits": "rudely"}],
            "; processes 1, 2 did not end by themselves and were killed; there",
        ),
    ],
    ids=["killed", "failed", "code", "two", "hung", "both hung"],
)
def test_the_cause_is_told_and_not_what_followed(
    outcome: Any, ends: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ProcessGroupError, match=message):
        outcome(*ends)


def test_the_last_checkpoint_is_named(outcome: Any, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-000120").mkdir()
    with pytest.raises(ProcessGroupError, match=r"checkpoint-000120, is whole; the same command"):
        outcome(KILLED, LOST)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_passed_on(outcome: Any, number: signal.Signals) -> None:
    stopped = {"kind": "TrainingInterrupted", "text": "stopped after step 5"}
    polite = {"code": 130, "waits": "politely", "report": stopped}
    with pytest.raises(TrainingInterrupted, match=r"^stopped after step 5$"):
        outcome(polite, polite, number=number)


STOPPED = {"code": 130, "waits": "politely", "report": {"kind": "x", "text": "stopped"}}


def test_a_stop_before_they_listen_is_a_stop_too(outcome: Any) -> None:
    early = {"code": 0, "waits": "unprepared"}
    with pytest.raises(
        TrainingInterrupted, match=r"^stopped before all processes had begun; there"
    ):
        outcome(early, STOPPED, number=signal.SIGTERM)


def test_a_death_while_they_stop_is_no_stop(outcome: Any) -> None:
    killed = {"code": 0, "waits": "politely", "signal": signal.SIGKILL}
    with pytest.raises(ProcessGroupError, match="SIGKILL"):
        outcome(killed, STOPPED, number=signal.SIGTERM)


def test_each_process_has_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda process: set(range(8)))
    place = module._environment(1, 3, 4711)
    told = {name: place[name] for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
    assert told == {
        "RANK": "1",
        "WORLD_SIZE": "3",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "4711",
    }
    assert place["OMP_NUM_THREADS"] == "2"
    assert place["TORCH_CPP_LOG_LEVEL"] == "ERROR", "a warning of a socket is a page of frames"
    assert module._environment(1, 16, 4711)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert module._environment(1, 3, 4711)["OMP_NUM_THREADS"] == "5"


def test_numbers_that_make_no_sense_are_refused(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="processes must be at least 1, got 0"):
        launch(tiny_config(pack), tmp_path, processes=0)
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match="left out where torchrun has started them, got 2"):
        launch(tiny_config(pack), tmp_path, processes=2)
