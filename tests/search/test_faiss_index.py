"""What is FAISS's own: codes, their growth, their removal, the file."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from marginface.errors import CheckpointWriteError, DataError, MissingExtraError
from marginface.search import ExactIndex, FaissIndex, measured_recall
from tests.data.made import full_disk_after
from tests.search.indices import Rows, near, units


def coded(rows: Rows, candidates: int = 32) -> FaissIndex:
    index = FaissIndex(rows.shape[1], smallest=640, candidates=candidates)
    index.add(np.arange(len(rows)), rows)
    index.search(rows[:1], 1)
    return index


@pytest.mark.parametrize("dim", [32, 33])
def test_codes_propose_and_float32_decides(dim: int) -> None:
    """Probes like faces find their row; every score is the true one, whatever was found."""
    rows = units(2000, dim)
    index, probes = coded(rows), near(rows[:300], 0.9)
    found = index.search(probes, 2)
    assert found.ids[:, 0].tolist() == list(range(300))
    true = (rows[found.ids].astype(np.float64) * probes[:, None]).sum(axis=2)
    np.testing.assert_allclose(found.scores, true, atol=1e-7)
    assert (found.scores[:, 0] > found.scores[:, 1]).all()


def test_few_candidates_lose_what_recall_tells() -> None:
    """Among rows that are all about as near, the codes miss some; otherwise nothing was shown."""
    rows, probes = units(3000, 32), units(200, 32, seed=1)
    index = coded(rows, candidates=10)
    found = measured_recall(index, probes, 1)
    ids = index.search(probes, 1, exactly=True).ids
    assert found.recall == (index.search(probes, 1).ids == ids).mean()
    assert 0.3 < found.recall < 0.97
    assert found.low < found.recall < found.high
    assert found.high - found.low < 0.2
    exact = ExactIndex(32)
    exact.add(np.arange(3000), rows)
    np.testing.assert_array_equal(ids, exact.search(probes, 1).ids)
    assert measured_recall(exact, probes, 3).recall == 1


def test_codes_follow_every_change() -> None:
    """The blocks of 32 codes, after removals of every kind, are those of a fresh index."""
    generator = np.random.default_rng(0)
    rows = units(4000, 16)
    index, held = coded(rows[:700], candidates=10), set(range(700))
    for step in range(30):
        gone = generator.choice(sorted(held), generator.integers(1, 60), replace=False)
        index.remove(gone)
        fresh = np.arange(700 + 50 * step, 700 + 50 * step + generator.integers(1, 50))
        index.add(fresh, rows[fresh])
        held = (held - set(gone.tolist())) | set(fresh.tolist())
    ids = np.array(sorted(held))
    assert sorted(index._code_ids.tolist()) == ids.tolist()
    anew = index._faiss.clone_index(index._codes)
    anew.reset()
    anew.add(rows[index._code_ids])
    for mine, other in zip(
        index._codes.search(rows[:50], 20), anew.search(rows[:50], 20), strict=True
    ):
        np.testing.assert_array_equal(mine, other)
    assert (index.search(near(rows[ids], 0.2), 1).ids[:, 0] == ids).mean() > 0.99


def test_small_is_exact_and_grown_is_learnt_anew() -> None:
    rows = units(3000, 16)
    index = FaissIndex(16, smallest=640, candidates=1)
    index.add(np.arange(639), rows[:639])
    assert measured_recall(index, units(100, seed=2), 10).recall == 1
    assert index._codes is None
    index.add([639], rows[639:640])
    index.search(rows[:1], 1)
    assert index._learnt_at == 640
    index.add(np.arange(640, 2559), rows[640:2559])
    index.search(rows[:1], 1)
    assert (index._learnt_at, index._codes.ntotal) == (640, 2559)
    index.add([2559], rows[:1])
    index.search(rows[:1], 1)
    assert (index._learnt_at, index._codes.ntotal) == (2560, 2560)


@pytest.mark.parametrize("kind", [ExactIndex, FaissIndex])
@pytest.mark.parametrize("count", [0, 50, 800])
def test_a_file_brings_everything_back(kind: Any, count: int, tmp_path: Path) -> None:
    options = {"smallest": 640, "candidates": 10} if kind is FaissIndex else {}
    index, rows = kind(16, **options), units(count)
    index.add(np.arange(count) * 2, rows)
    index.save(tmp_path / "new" / "i")
    other = kind.load(tmp_path / "new" / "i", **options)
    assert (tmp_path / "new" / "i").stat().st_mode & 0o777 == 0o600
    assert (other.fingerprint(), len(other)) == (index.fingerprint(), count)
    for k in (1, 5):
        mine, its = index.search(units(9, seed=1), k), other.search(units(9, seed=1), k)
        np.testing.assert_array_equal(mine.ids, its.ids)
        np.testing.assert_array_equal(mine.scores, its.scores)
    (tmp_path / "new" / "i").chmod(0o640)  # for the group of a service
    other.save(tmp_path / "new" / "i")
    assert (tmp_path / "new" / "i").stat().st_mode & 0o777 == 0o640
    if count:
        other.remove([4])
        other.save(tmp_path / "new" / "i")
        assert rows[2].tobytes() not in (tmp_path / "new" / "i").read_bytes()
        assert rows[3].tobytes() in (tmp_path / "new" / "i").read_bytes()


def test_nothing_of_the_removed_stays_in_the_table() -> None:
    rows = units(700)
    index = coded(rows)
    index.remove([5, 699])
    assert not (index._table._room == rows[699]).all(axis=1).any()
    assert not (index._table._room == rows[5]).all(axis=1).any()


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    index = coded(units(700))
    index.save(tmp_path / "i")
    before = (tmp_path / "i").read_bytes()
    index.remove([3])
    with pytest.raises(CheckpointWriteError), full_disk_after(0):
        index.save(tmp_path / "i")
    assert (tmp_path / "i").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": units(700, seed=8)}, "are not those that were saved; build it anew"),
        ({"ids": np.arange(700)[::-1].copy()}, "are not those that were saved"),
        ({"ids": np.arange(3)}, "are not those that were saved"),
        ({"rows": np.zeros(3, np.float32)}, "are not those that were saved"),
        ({"code_ids": np.arange(1, 701)}, "codes do not fit the rows"),
        ({"codes": np.zeros(30, np.uint8)}, "codes do not fit the rows"),
        ({"more": np.zeros(3)}, "codes do not fit the rows"),
    ],
)
def test_refuses_altered_files(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    coded(units(700)).save(tmp_path / "i")
    arrays, about = load_file(tmp_path / "i"), metadata(tmp_path / "i")
    save_file(arrays | change, tmp_path / "i", about)
    with pytest.raises(DataError, match=message):
        FaissIndex.load(tmp_path / "i")


def test_refuses_other_files(tmp_path: Path) -> None:
    index = coded(units(700))
    index.save(tmp_path / "i")
    with pytest.raises(DataError, match="an index of kind 'faiss', not 'exact'"):
        ExactIndex.load(tmp_path / "i")
    whole = (tmp_path / "i").read_bytes()
    for end in (0, 9, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:end])
        with pytest.raises(DataError, match="cut: not a whole safetensors file"):
            FaissIndex.load(tmp_path / "cut")
    with pytest.raises(DataError, match="must be an index file, got none"):
        FaissIndex.load(tmp_path / "absent")
    with pytest.raises(DataError, match="got a folder"):
        FaissIndex.load(tmp_path)
    about = metadata(tmp_path / "i")["marginface"]
    for new, message in (
        ("{}", "this is not an index file"),
        (about.replace('"format": 1', '"format": 2'), "format must be 1, got 2; a newer"),
        (about.replace('"fingerprint": "', '"finger": "'), "lacks its fingerprint"),
    ):
        save_file(load_file(tmp_path / "i"), tmp_path / "other", {"marginface": new})
        with pytest.raises(DataError, match=message):
            FaissIndex.load(tmp_path / "other")


def test_refuses_settings() -> None:
    with pytest.raises(ValueError, match="smallest must be at least 640, got 10"):
        FaissIndex(4, smallest=10)
    with pytest.raises(ValueError, match="candidates must be at least 1, got 0"):
        FaissIndex(4, candidates=0)
    with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
        ExactIndex(0)
    with pytest.raises(ValueError, match="did you mean 'int8'"):
        ExactIndex(4, products="int9")


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked(monkeypatch, "faiss")
    with pytest.raises(MissingExtraError, match=r"pip install 'marginface\[faiss\]'"):
        FaissIndex(4)


def blocked(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let a package be as if it were not installed."""
    real = importlib.import_module

    def absent(wanted: str, package: str | None = None) -> Any:
        if wanted.split(".")[0] == name:
            raise ModuleNotFoundError(name)
        return real(wanted, package)

    monkeypatch.setattr(importlib, "import_module", absent)


def metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata())
