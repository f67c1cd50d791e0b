"""What runs an ONNX file: by name, with one answer, and without telling anybody."""

import importlib.util
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from marginface.backbones import make_backbone
from marginface.errors import MissingExtraError, ModelFileError
from marginface.recognition import ENGINES, Gallery, ModelContract, Recognizer, save_onnx
from marginface.recognition.engines import OnnxRuntimeSession
from marginface.recognition.network import OnnxNetwork
from marginface.weights import resolve_weights

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None,
    reason="openvino takes 181 MB and is not installed here; pip install 'marginface[openvino]'",
)
CONTRACT = ModelContract(
    architecture="iresnet_tiny", dim=16, input_size=(32, 32), mean=(120.0, 110.0, 100.0)
)
QUIET = """
import sys, pathlib
from marginface.recognition import Recognizer
Recognizer.load(sys.argv[1], engine=sys.argv[2])
left = [str(path) for path in pathlib.Path.home().rglob("*") if path.is_file()]
sys.exit(f"left behind: {left}" if left else 0)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recognizer]:
    path = tmp_path_factory.mktemp("engines") / "model.onnx"
    backbone = make_backbone("iresnet_tiny", dim=16, input_size=32)
    save_onnx(path, backbone, CONTRACT)
    return path, Recognizer.from_backbone(backbone, CONTRACT, name="first")


@pytest.fixture(scope="module")
def faces() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def test_onnxruntime_is_what_runs_a_file(model: tuple[Path, Recognizer]) -> None:
    assert Recognizer.load(model[0]).network.engine.startswith("onnxruntime 1.")
    assert Recognizer.load(model[0], engine="onnxruntime").network.engine.startswith("onnxruntime")
    assert model[1].network.engine.startswith("torch 2.")


def test_onnxruntime_takes_as_many_threads_as_torch(
    model: tuple[Path, Recognizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    options = OnnxRuntimeSession(model[0])._session.get_session_options()
    assert options.intra_op_num_threads == 3


def test_refuses_an_engine_nobody_knows(model: tuple[Path, Recognizer]) -> None:
    message = "engine must be one of onnxruntime, openvino, .*; got 'openvin'; did you mean 'openv"
    with pytest.raises(ValueError, match=message):
        Recognizer.load(model[0], engine="openvin")
    with pytest.raises(ValueError, match=message):
        OnnxNetwork(model[0], engine="openvin")


def test_refuses_an_engine_for_what_torch_runs(tmp_path: Path) -> None:
    for name in ("sface", str(tmp_path / "model.safetensors"), str(resolve_weights("sface"))):
        with pytest.raises(ValueError, match=r"engine must be left out for .*, which PyTorch runs"):
            Recognizer.load(name, engine="onnxruntime")


def test_says_what_to_install(
    model: tuple[Path, Recognizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    for engine in ("openvino", "openvino-bf16"):
        with pytest.raises(MissingExtraError, match=r"pip install 'marginface\[openvino\]'"):
            Recognizer.load(model[0], engine=engine)
    assert "openvino_telemetry" not in sys.modules


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=needs_openvino)])
def test_opening_a_file_reports_to_nobody(
    engine: str, model: tuple[Path, Recognizer], tmp_path: Path
) -> None:
    """Both packages keep a number of the machine in the home folder, to send it with."""
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", QUIET, str(model[0]), engine]
    environment = kept | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_openvino
def test_openvino_gives_the_same_embeddings(
    model: tuple[Path, Recognizer], faces: NDArray[np.uint8]
) -> None:
    path, first = model
    expected = first.embed_aligned(faces)
    other = Recognizer.load(path, engine="openvino")
    assert other.contract == CONTRACT
    assert other.network.engine.startswith("openvino 20")
    np.testing.assert_allclose(other.embed_aligned(faces), expected, atol=1e-5)
    Gallery.of(first).check(other)
    rounded = Recognizer.load(path, engine="openvino-bf16").embed_aligned(faces)
    assert 0.999 < (rounded * expected).sum(axis=1).min() <= 1.0001
    again = pickle.loads(pickle.dumps(other.network))
    np.testing.assert_array_equal(again.features(faces), other.network.features(faces))


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=needs_openvino)])
def test_threads_share_a_network(engine: str, model: tuple[Path, Recognizer]) -> None:
    shared = Recognizer.load(model[0], engine=engine)
    rng = np.random.default_rng(1)
    batches = [rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8) for _ in range(24)]
    expected = [shared.embed_aligned(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(shared.embed_aligned, batches))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=needs_openvino)])
def test_a_file_that_is_no_network(engine: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no network")
    with pytest.raises(ModelFileError, match=f"is no ONNX network {engine} can run"):
        Recognizer.load(tmp_path / "model.onnx", engine=engine)


def test_the_table() -> None:
    assert list(ENGINES) == ["onnxruntime", "openvino", "openvino-bf16"]
