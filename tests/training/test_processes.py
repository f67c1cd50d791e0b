"""Several processes compute what one does, and each number of them goes on from any other's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from marginface.data import Augmentation
from marginface.training import (
    BackboneConfig,
    DataConfig,
    HeadConfig,
    LossConfig,
    OptimizerConfig,
    TrainConfig,
    export_model,
    read_log,
    train,
)
from marginface.training.checkpoint import all_checkpoints, read_state
from marginface.training.processes import Processes, joined_processes
from tests.processes import run_on
from tests.training import together
from tests.training.tiny import (
    SIDE,
    assert_same_tensors,
    nan_config,
    newest,
    tensors_of,
    tiny_config,
    write_pack,
)

WIDTHS = {"widths": (4, 4, 8, 8), "dropout": 0.0}
PLAIN = BackboneConfig(name="iresnet_tiny", dim=8, input_size=SIDE, options=WIDTHS)


def exact(pack: Path, **changes: Any) -> TrainConfig:
    """Return a run in float64 without dropout, whose draws differ with the processes."""
    fields: dict[str, Any] = {
        "backbone": PLAIN,
        "precision": "float64",
        "steps": 4,
        "batch_size": 14,
        "checkpoint_every_steps": None,
        "log_every": 2,
    }
    return tiny_config(pack, **(fields | changes))


# Each in float64; 7 or 14 rows are uneven on 2, 3 and 4 processes, and so are 6 classes on 4.
RUNS: dict[str, dict[str, Any]] = {
    "adaface": {"loss": LossConfig(name="adaface", options={"scale": 16.0})},
    "elasticface-plus": {
        "loss": LossConfig(name="elasticface-arc-plus", options={"scale": 16.0}),
        "ema_decay": None,
        "clip_norm": 0.5,
    },
    "sampled": {
        "head": HeadConfig(sample_rate=0.5, updates_in_walk=True, chunk=2),
        "accumulate": 1,
        "clip_norm": None,
    },
    "adamw": {
        # Some gradients are zero but for rounding (a shift before batch normalisation), which is
        # divided by eps; by the usual 1e-8 it would show.
        "optimizer": OptimizerConfig(name="adamw", lr=0.01, decay_norm_and_bias=False, eps=1e-4),
        "layer_rates": {"layer2": 0.1},
        "head_lr_ratio": 3.0,
    },
    "frozen": {
        "freeze": ("stem", "layer1"),
        "layer_rates": {"layer2": 0.1},
        "head_lr_ratio": 3.0,
        "optimizer": OptimizerConfig(lr=0.05, momentum=0.0),
    },
}


# With (2, 3, 1, 4), every step from one number to another.
LONG_CHAINS = [(1, 2, 4, 3), (3, 2, 1, 3, 4), (4, 1), (4, 2)]


def assert_equal_runs(one: Path, other: Path) -> None:
    """Compare the newest checkpoints of two runs to the last digits of float64."""
    ours, theirs = tensors_of(newest(one)), tensors_of(newest(other))
    for name in ours.keys() | theirs.keys():
        if not name.startswith("random/"):
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-9, atol=1e-11, msg=name)


@pytest.fixture(scope="module")
def alone(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each of the runs, trained on one process."""
    folder = tmp_path_factory.mktemp("alone")
    for name, changes in RUNS.items():
        train(exact(pack, **changes), folder / name)
    return folder


@pytest.mark.parametrize("processes", [2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_any_number_of_processes_computes_what_one_does(
    pack: Path, alone: Path, tmp_path: Path, processes: int
) -> None:
    runs = [(exact(pack, **changes).to_dict(), tmp_path / name) for name, changes in RUNS.items()]
    losses = run_on(processes, together.train_each, runs)
    for number, name in enumerate(RUNS):
        assert_equal_runs(tmp_path / name, alone / name)
        logs = [read_log(folder / name / "log.jsonl") for folder in (tmp_path, alone)]
        assert [record["step"] for record in logs[0]] == [2, 4]
        for ours, theirs in zip(*logs, strict=True):
            for key in theirs.keys() - {"seconds", "images_per_s"}:
                assert ours[key] == pytest.approx(theirs[key], rel=1e-9), (name, key)
        assert {of_one[number] for of_one in losses} == {logs[0][-1]["loss"]}
        # What a model file holds is of float32, whose last bit may differ.
        models = [tensors_of(folder / name / "model.safetensors") for folder in (tmp_path, alone)]
        for key, tensor in models[0].items():
            torch.testing.assert_close(tensor, models[1][key], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "chain",
    [(2, 3, 1, 4), *(pytest.param(item, marks=pytest.mark.slow) for item in LONG_CHAINS)],
)
@pytest.mark.parametrize("name", ["adamw", pytest.param("adaface", marks=pytest.mark.slow)])
def test_a_run_goes_on_on_any_number_of_processes(
    pack: Path, alone: Path, tmp_path: Path, chain: tuple[int, ...], name: str
) -> None:
    told = exact(pack, **RUNS[name]).to_dict()
    for sitting, processes in enumerate(chain[:-1], 1):
        # One of them is asked to stop, and all do.
        for message in run_on(processes, together.train_a_step, told, tmp_path):
            assert f"stopped after step {sitting} of 4; everything is in {tmp_path}" in message
        state = read_state(newest(tmp_path))
        assert (state.step, state.processes) == (sitting, processes)
    run_on(chain[-1], together.train_each, [(told, tmp_path)])
    assert_equal_runs(tmp_path, alone / name)


@pytest.mark.parametrize(
    ("processes", "changes"),
    [
        pytest.param(3, {"optimizer": OptimizerConfig(name="adamw")}, marks=pytest.mark.slow),
        (3, {"precision": "bf16", "channels_last": True}),
        pytest.param(2, {"batch_statistics": "process"}, marks=pytest.mark.slow),
        pytest.param(3, {"batch_statistics": "process"}, marks=pytest.mark.slow),
    ],
)
def test_a_run_on_the_same_processes_goes_on_bit_for_bit(
    pack: Path, tmp_path: Path, processes: int, changes: dict[str, Any]
) -> None:
    # Dropout in every process, and margins drawn.
    whole = tiny_config(pack, **changes, steps=4, batch_size=18).to_dict()
    run_on(processes, together.train_each, [(whole, tmp_path / "whole")])
    run_on(processes, together.train_a_step, whole, tmp_path / "cut")
    run_on(processes, together.train_each, [(whole, tmp_path / "cut")])
    assert_same_tensors(*(newest(tmp_path / name) for name in ("whole", "cut")))
    assert_same_tensors(*(tmp_path / name / "model.safetensors" for name in ("whole", "cut")))


def test_every_checkpoint_is_read_by_any_number_of_processes(tmp_path: Path) -> None:
    folders = [tmp_path / f"of-{processes}" for processes in (1, 2, 3, 4)]
    for processes, folder in enumerate(folders, 1):
        run_on(processes, together.save, folder)
        (path,) = folder.iterdir()
        state = read_state(path)
        assert (state.step, state.processes) == (9, processes)
        # Class vectors are in the file of the process that holds them, the rest in one only.
        assert len(list(path.glob("*.safetensors"))) == processes
        drawn = tensors_of(path)
        for rank in range(processes):
            assert drawn[f"random/cpu/{rank}"].tolist() == [rank] * 4
    for processes in (1, 2, 3, 4):
        assert run_on(processes, together.load, folders) == [4] * processes


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_byte_is_summed_up_once_and_a_spoilt_one_is_told_by_all(
    tmp_path: Path, processes: int
) -> None:
    run_on(2, together.save, tmp_path)
    found = run_on(processes, together.checks, tmp_path)
    # Two tensors that all hold, and of the two vectors three rows in one file and two in the other.
    alike, vectors = ["()", "(2, 2)"], ["(3, 3)", "(2, 3)"]
    assert sorted(one for summed, _, _ in found for one in summed) == sorted(alike + vectors * 2)
    assert [(told, is_unread) for _, told, is_unread in found] == [("", False)] * processes
    file = newest(tmp_path) / "shard-00002.safetensors"
    stored = bytearray(file.read_bytes())
    stored[-5] ^= 1  # before the random state, the narrowest and so the last
    file.write_bytes(stored)
    spoilt = {
        (told, is_unread) for _, told, is_unread in run_on(processes, together.checks, tmp_path)
    }
    ((told, is_unread),) = spoilt
    assert "shard-00002.safetensors holds other bytes of vectors than were written" in told
    assert is_unread, "nothing is read by anyone then"


def test_nan_in_one_process_is_told_by_all() -> None:
    told = run_on(2, together.nan_in_last)
    assert told[0] == told[1]
    assert "w holds NaN or infinite values after step 1" in told[0]


def test_a_checkpoint_of_several_becomes_a_plain_model_file(pack: Path, tmp_path: Path) -> None:
    short = tiny_config(pack, time_limit_s=1e-9)
    run_on(2, together.train_each, [(short.to_dict(), tmp_path / "run")])
    assert export_model(tmp_path / "run", tmp_path / "out.safetensors") == 1
    assert_same_tensors(tmp_path / "out.safetensors", tmp_path / "run" / "model.safetensors")


def layers() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.BatchNorm2d(3, momentum=0.3),
        nn.Conv2d(3, 4, 2, bias=False),
        nn.Sequential(nn.BatchNorm2d(4, momentum=None), nn.Flatten(), nn.BatchNorm1d(16)),
        nn.BatchNorm1d(16, affine=False),
    ).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=parameter.dtype))
    return made


@pytest.mark.parametrize("sizes", [[5, 4], [1, 6, 2], [9]])
def test_batch_norm_over_processes_is_that_of_the_whole_batch(sizes: list[int]) -> None:
    # Means far from zero, which sums of squares would not survive.
    whole = torch.randn(9, 3, 3, 3, dtype=torch.float64) * 2 + 1e3
    expected = together.normalised(layers, whole, sizes)
    found = run_on(len(sizes), together.normalised, layers, whole, sizes)
    for key, value in expected.items():
        ours: list[Tensor] = [of_one[key] for of_one in found]
        if key in {"result", "gradient"}:
            joined = torch.cat(ours)
        elif key.startswith("gradient"):
            joined = torch.stack(ours).sum(0)
        else:
            joined = ours[0]
            assert all(torch.equal(item, ours[0]) for item in ours)
        torch.testing.assert_close(joined, value, rtol=1e-9, atol=1e-10, msg=key)


def test_gradients_are_summed_in_the_order_of_the_processes() -> None:
    parts = []
    for rank in range(3):
        generator = torch.Generator().manual_seed(rank)
        first = torch.randn(100, generator=generator)
        parts.append(first * 10 ** torch.randn(100, generator=generator))
    expected = ((parts[0] + parts[1]) + parts[2]) / 3
    for mean, mirrored in run_on(3, together.mean_of_ranks, 100):
        assert torch.equal(mean, expected)
        # Wherever an element lies, it is the same.
        assert torch.equal(mirrored.flip(0), expected)


def test_processes_that_were_started_for_other_runs_are_refused(pack: Path, tmp_path: Path) -> None:
    told = [tiny_config(pack, seed=seed).to_dict() for seed in (0, 1)]
    for kind, text in run_on(2, together.error_of, told, tmp_path):
        assert kind == "ProcessMismatchError"
        assert (
            "process 1 must be started for the same run as process 0, got seed is 0 in proc" in text
        )
        assert "start all of them with the same command, data and versions" in text
    assert not list(tmp_path.iterdir())
    more = write_pack(tmp_path / "more.pack", identities=7)
    other = DataConfig(path=more, augmentation=Augmentation.adaface())
    told[1] = tiny_config(pack, data=other).to_dict()
    for kind, text in run_on(2, together.error_of, told, tmp_path / "run"):
        assert kind == "ProcessMismatchError"
        assert "data.identities is 6 in process 0 and 7 in process 1" in text
        assert "data.fingerprint is " in text
    told[1] = told[0]
    for kind, text in run_on(2, together.error_of, told, tmp_path / "run", ["0.1", "0.2"]):
        assert kind == "ProcessMismatchError"
        assert "version of marginface is '0.1' in process 0 and '0.2' in process 1" in text


def test_nan_in_one_process_stops_all_with_the_culprit(tmp_path: Path) -> None:
    told = nan_config(tmp_path / "with_dark.pack").to_dict()
    for kind, text in run_on(2, together.meet_nan, told, tmp_path / "run"):
        assert kind == "NonFiniteLossError"
        assert "from 1 of 4 pictures (person_2/person_2_0005.png; all in " in text
    (dump,) = (tmp_path / "run").glob("nonfinite_step_*.json")
    found = json.loads(dump.read_text())
    assert found["culprits"] == ["person_2/person_2_0005.png"]
    assert len(found["batch"]) == len(found["labels"]) == 4
    for path in all_checkpoints(tmp_path / "run"):
        assert read_state(path).step == found["step"] - 1


def test_validation_is_a_matter_of_the_first_and_disturbs_nobody(
    pack: Path, tmp_path: Path
) -> None:
    told = tiny_config(pack, steps=6).to_dict()
    assert run_on(2, together.watched, told, tmp_path / "watched") == [[4, 6], []]
    run_on(2, together.train_each, [(told, tmp_path / "plain")])
    assert_same_tensors(*(newest(tmp_path / name) for name in ("watched", "plain")))
    log = read_log(tmp_path / "watched" / "log.jsonl")
    assert [record["step"] for record in log if "validation" in record] == [4, 6]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 2, "accumulate": 1}, "must be accumulate times 3 or more on 3 processes"),
        ({"batch_size": 10, "batch_statistics": "process"}, "accumulate times 6 or more on 3"),
    ],
)
def test_batches_too_small_to_share_are_refused(
    pack: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    told = [tiny_config(pack, **changes).to_dict()] * 3
    for kind, text in run_on(3, together.error_of, told, tmp_path):
        assert (kind, message in text) == ("ValueError", True), text


def test_places_that_are_half_described_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(ValueError, match="RANK, MASTER_ADDR, MASTER_PORT must be set where WORLD_S"),
        joined_processes("cpu", timeout_s=1.0),
    ):
        pass
    monkeypatch.delenv("WORLD_SIZE")
    with joined_processes("cpu", timeout_s=1.0) as processes:
        assert processes == Processes()
        assert processes.group is None
        assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("name", "text", "range"),
    [
        ("WORLD_SIZE", "two", "1 or more"),
        ("WORLD_SIZE", "0", "1 or more"),
        ("RANK", "x", "0 or more and below 2"),
        ("RANK", "2", "0 or more and below 2"),
        ("RANK", "-1", "0 or more and below 2"),
        ("MASTER_PORT", "http", "0 or more and below 65536"),
    ],
)
def test_places_that_cannot_be_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, range: str
) -> None:
    place = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for key, value in (place | {name: text}).items():
        monkeypatch.setenv(key, value)
    told = f"^{name} in the environment must be a whole number, {range}, got '{text}'; start with"
    with pytest.raises(ValueError, match=told), joined_processes("cpu", timeout_s=1):
        pass


def test_places_share_every_part_of_a_batch() -> None:
    for size in (1, 2, 3, 4):
        shares = [Processes(rank=rank, size=size).places(24, 2) for rank in range(size)]
        assert sorted(np.concatenate(shares).tolist()) == list(range(24))
        for places in shares:
            first, second = places.reshape(2, -1)
            np.testing.assert_array_equal(first + 12, second)
