import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from marginface.backbones import folded_sface_onnx
from marginface.errors import MissingExtraError, ModelFileError
from marginface.recognition import PUBLIC_MODELS, ModelContract, Recognizer
from marginface.recognition.network import Network, OnnxNetwork, TorchNetwork


class Keeper(nn.Module):
    """Return the mean of each channel, and keep what it was given."""

    def __init__(self, dim: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.given: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.given.append(images.clone())
        return images.mean(dim=(2, 3)) * self.weight


CONTRACT = ModelContract(
    architecture="keeper",
    dim=3,
    input_size=(2, 2),
    mean=(100.0, 0.0, 1.0),
    std=(10.0, 1.0, 2.0),
)
FACE = np.array([[[110, 7, 5], [120, 7, 5]], [[130, 7, 5], [140, 7, 5]]], np.uint8)[np.newaxis]


def test_scales_each_channel_as_the_contract_says() -> None:
    keeper = Keeper()
    features = TorchNetwork(keeper, CONTRACT).features(FACE)
    expected = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[7.0] * 2] * 2, [[2.0] * 2] * 2])
    torch.testing.assert_close(keeper.given[0], expected[None])
    np.testing.assert_allclose(features, [[2.5, 7.0, 2.0]])


def test_mirrors_left_to_right() -> None:
    keeper = Keeper()
    TorchNetwork(keeper, CONTRACT).features(FACE, is_mirrored=True)
    torch.testing.assert_close(keeper.given[0][0, 0], torch.tensor([[2.0, 1.0], [4.0, 3.0]]))


def test_bgr_turns_the_channels() -> None:
    keeper = Keeper()
    contract = replace(CONTRACT, colour="BGR", mean=(0.0,) * 3, std=(1.0,) * 3)
    features = TorchNetwork(keeper, contract).features(FACE)
    np.testing.assert_allclose(features, [[5.0, 7.0, 125.0]])


def test_shrinks_by_area() -> None:
    keeper = Keeper()
    contract = replace(CONTRACT, mean=(0.0,) * 3, std=(1.0,) * 3)
    face = np.zeros((1, 4, 4, 3), np.uint8)
    face[0, :2, :2] = [[[0], [100]], [[100], [200]]]  # one 2x2 block of mean 100
    TorchNetwork(keeper, contract).features(face)
    torch.testing.assert_close(keeper.given[0][0, 0], torch.tensor([[100.0, 0.0], [0.0, 0.0]]))


def test_evaluation_mode_and_no_gradient() -> None:
    keeper = Keeper().train()
    TorchNetwork(keeper, CONTRACT).features(FACE)
    assert not keeper.training
    assert keeper.weight.grad is None


def test_another_length_than_promised() -> None:
    network = TorchNetwork(Keeper(), replace(CONTRACT, dim=4))
    with pytest.raises(ModelFileError, match=r"contract says dim 4, but .* shape \(1, 3\)"):
        network.features(FACE)


def test_nan_features() -> None:
    keeper = Keeper()
    keeper.weight.data[1] = torch.nan
    with pytest.raises(ModelFileError, match="NaN or infinite features for 2 of 2 faces"):
        TorchNetwork(keeper, CONTRACT).features(FACE.repeat(2, axis=0))


def test_network_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Network(CONTRACT)  # type: ignore[abstract]


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folded_sface_onnx(cache=tmp_path_factory.mktemp("cache"))


def test_onnx_equals_torch(folded: Path, sface: Recognizer, crops: NDArray[np.uint8]) -> None:
    onnx = Recognizer.load(folded, contract=PUBLIC_MODELS["sface"].onnx_contract)
    expected = sface.embed_aligned(crops)
    np.testing.assert_allclose(onnx.embed_aligned(crops), expected, atol=2e-4)
    cosine = (onnx.embed_aligned(crops) * expected).sum(axis=1)
    assert cosine.min() > 0.99999


def test_public_onnx_file_runs_though_onnxruntime_refuses_it(
    sface: Recognizer, crops: NDArray[np.uint8]
) -> None:
    from marginface.weights import resolve_weights

    named = Recognizer.load(resolve_weights("sface"))
    assert named.contract == sface.contract
    np.testing.assert_array_equal(named.embed_aligned(crops[:2]), sface.embed_aligned(crops[:2]))


def test_onnx_without_contract(folded: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no contract .*; pass contract=ModelContract"):
        Recognizer.load(folded)


def test_onnx_of_another_size(folded: Path) -> None:
    contract = replace(PUBLIC_MODELS["sface"].onnx_contract, input_size=(96, 96))
    with pytest.raises(ModelFileError, match=r"contract says input \(batch, 3, 96, 96\), but"):
        Recognizer.load(folded, contract=contract)


def test_onnx_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no network")
    with pytest.raises(ModelFileError, match="no ONNX network onnxruntime can run"):
        Recognizer.load(tmp_path / "model.onnx")
    with pytest.raises(ModelFileError, match="does not exist"):
        Recognizer.load(tmp_path / "absent.onnx")


def test_onnx_with_its_own_contract_and_a_fixed_batch(tmp_path: Path) -> None:
    path = fixed_batch_graph(tmp_path / "mean.onnx", batch=2)
    recognizer = Recognizer.load(path)
    assert recognizer.contract == ONNX_CONTRACT
    faces = np.random.default_rng(0).integers(1, 256, (5, 4, 4, 3), dtype=np.uint8)
    means = faces.mean(axis=(1, 2))
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(recognizer.embed_aligned(faces), expected, atol=1e-6)


def test_onnx_without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fixed_batch_graph(tmp_path / "mean.onnx", batch=2)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'marginface\[onnx\]'"):
        Recognizer.load(path)


ONNX_CONTRACT = ModelContract(
    architecture="mean", dim=3, input_size=(4, 4), mean=(0.0,) * 3, std=(1.0,) * 3
)


def fixed_batch_graph(path: Path, *, batch: int) -> Path:
    from onnx import TensorProto, helper, save_model

    node = helper.make_node("GlobalAveragePool", ["image"], ["feature"])
    graph = helper.make_graph(
        [node],
        "mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 4, 4])],
        [helper.make_tensor_value_info("feature", TensorProto.FLOAT, [batch, 3, 1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, ONNX_CONTRACT.to_metadata())
    save_model(model, str(path))
    return path


def test_an_onnx_network_travels_to_another_process() -> None:
    network = OnnxNetwork(folded_sface_onnx(), PUBLIC_MODELS["sface"].onnx_contract)
    face = np.arange(112 * 112 * 3, dtype=np.uint32).astype(np.uint8).reshape(1, 112, 112, 3)
    other = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(other.features(face), network.features(face))
