"""The public SFace network: the module, the folded file and OpenCV's own reader agree."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from marginface.backbones import SFaceNet, folded_sface_onnx, load_public_sface, make_backbone
from marginface.backbones.onnx_folding import read_onnx
from marginface.errors import WeightsError
from marginface.files import sha256_of
from marginface.weights import resolve_weights

PICTURES = Path(__file__).parents[1] / "pictures"
OPENCV = tuple(int(part) for part in cv2.__version__.split(".")[:2])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def public(cache: Path) -> SFaceNet:
    network = make_backbone("sface")
    load_public_sface(network, cache=cache)
    return network.eval()


@pytest.fixture(scope="module")
def float_file(cache: Path) -> Path:
    return folded_sface_onnx(cache=cache)


@pytest.fixture(
    scope="module", params=["portraits", pytest.param("celeb", marks=pytest.mark.faces)]
)
def crops(request: pytest.FixtureRequest) -> NDArray[np.uint8]:
    """Real faces as OpenCV aligns them, (n, 112, 112, 3) RGB: six portraits, or four snapshots."""
    paths = sorted(PICTURES.glob("*/*.jpg"))
    if request.param == "celeb":
        celeb = request.getfixturevalue("faces") / "celeb"
        paths = sorted(celeb.glob("*/*_0001.jpg"))[:4]
    detector = cv2.FaceDetectorYN.create(str(resolve_weights("yunet")), "", (320, 320))
    recogniser = cv2.FaceRecognizerSF.create(str(resolve_weights("sface")), "")
    found = []
    for path in paths:
        picture = cv2.imread(str(path))
        detector.setInputSize(picture.shape[1::-1])
        _, detected = detector.detect(picture)
        found.append(recogniser.alignCrop(picture, detected[0])[:, :, ::-1])
    assert len(found) == (4 if request.param == "celeb" else 6)
    return np.stack(found)


def embed(network: SFaceNet, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    images = torch.from_numpy(crops.transpose(0, 3, 1, 2).astype(np.float32)) / 127.5 - 1
    with torch.no_grad():
        return network(images).numpy()


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def run_onnx(file: Path, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (value,) = session.get_inputs()
    pixels = crops.transpose(0, 3, 1, 2).astype(np.float32)
    return np.asarray(session.run(None, {value.name: pixels})[0])


def test_module_equals_the_folded_file_in_onnxruntime(
    public: SFaceNet, float_file: Path, crops: NDArray[np.uint8]
) -> None:
    ours, theirs = embed(public, crops), run_onnx(float_file, crops)
    assert cosines(ours, theirs).min() >= 0.999999
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(OPENCV >= (5, 0), reason="OpenCV 5 cannot read the quantised file")
def test_module_equals_the_shipped_file_in_opencv(
    public: SFaceNet, crops: NDArray[np.uint8]
) -> None:
    recogniser = cv2.FaceRecognizerSF.create(str(resolve_weights("sface")), "")
    theirs = [recogniser.feature(np.ascontiguousarray(c[:, :, ::-1]))[0].copy() for c in crops]
    assert cosines(embed(public, crops), np.stack(theirs)).min() >= 0.9999


def test_opencv_reads_the_folded_file(
    public: SFaceNet, float_file: Path, crops: NDArray[np.uint8]
) -> None:
    recogniser = cv2.FaceRecognizerSF.create(str(float_file), "")
    theirs = [recogniser.feature(np.ascontiguousarray(c[:, :, ::-1]))[0].copy() for c in crops[:3]]
    assert cosines(embed(public, crops[:3]), np.stack(theirs)).min() >= 0.9999


def test_the_colour_order_matters(
    public: SFaceNet, float_file: Path, crops: NDArray[np.uint8]
) -> None:
    """A check of the checks: faces in BGR would not have passed."""
    swapped = embed(public, np.ascontiguousarray(crops[..., ::-1]))
    assert cosines(swapped, run_onnx(float_file, crops)).max() < 0.999


def test_module_equals_the_folded_file_without_any_picture(
    public: SFaceNet, float_file: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        embed(public, noise), run_onnx(float_file, noise), rtol=1e-3, atol=1e-4
    )


def test_a_training_step_moves_weights_and_statistics(public: SFaceNet) -> None:
    network = make_backbone("sface")
    network.load_state_dict(public.state_dict())
    network.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.01)
    network(torch.rand(3, 3, 112, 112) * 2 - 1).mul(torch.rand(128)).square().sum().backward()
    optimizer.step()
    still = [k for k, v in network.state_dict().items() if torch.equal(v, before[k])]
    # Dropped-out inputs and a bias before a batch-norm aside, only what is fixed stands still.
    assert set(still) <= {"features.weight", "fc.bias"}


@pytest.mark.parametrize(("option", "value"), [("dim", 512), ("input_size", 56)])
def test_other_sizes_are_refused(option: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"{option} must be (128|112) for .* got {value}"):
        make_backbone("sface", **{option: value})


def test_folding_is_done_once(
    float_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: Any) -> Any:
        raise AssertionError("folded a second time")

    monkeypatch.setattr("marginface.backbones.sface.folded", refuse)
    assert folded_sface_onnx(cache=cache) == float_file
    left = sorted(path.name for path in cache.iterdir())
    assert left == [float_file.name, float_file.with_suffix(".sha256").name]


def test_an_altered_or_unsealed_fold_is_made_anew(float_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / float_file.name
    copy.write_bytes(float_file.read_bytes()[:-1] + b"?")
    copy.with_suffix(".sha256").write_text(sha256_of(float_file))
    assert folded_sface_onnx(cache=tmp_path) == copy
    assert sha256_of(copy) == sha256_of(float_file)


def test_a_float_release_is_welcome_and_logged(
    public: SFaceNet, float_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release = tmp_path / "face_recognition_sface_2021dec.onnx"
    release.write_bytes(float_file.read_bytes())
    network = make_backbone("sface")
    with caplog.at_level(logging.WARNING):
        load_public_sface(network, release)
    assert "its structure is checked, its origin is not" in caplog.text
    torch.testing.assert_close(network.state_dict(), public.state_dict(), rtol=0, atol=0)


def set_attribute(node: Any, name: str, value: Any) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def of_type(model: Any, kind: str) -> list[Any]:
    return [node for node in model.graph.node if node.op_type == kind]


def without_prelu(model: Any) -> None:
    node = of_type(model, "PRelu")[3]
    following = next(n for n in model.graph.node if n.input and n.input[0] == node.output[0])
    following.input[0] = node.input[0]
    model.graph.node.remove(node)


def with_an_end_too_many(model: Any) -> None:
    model.graph.node.append(onnx.helper.make_node("Relu", ["fc1"], ["more"]))


def with_other_stride(model: Any) -> None:
    set_attribute(of_type(model, "Conv")[3], "strides", [1, 1])


def with_other_epsilon(model: Any) -> None:
    set_attribute(of_type(model, "BatchNormalization")[0], "epsilon", 1e-5)


def with_other_scale(model: Any) -> None:
    constant = next(t for t in model.graph.initializer if t.name == "scalar_op2")
    constant.CopyFrom(onnx.numpy_helper.from_array(np.array([1 / 255], np.float32), "scalar_op2"))


def with_other_shape(model: Any) -> None:
    constant = next(t for t in model.graph.initializer if t.name == "conv_1_batchnorm_gamma")
    constant.CopyFrom(onnx.numpy_helper.from_array(np.ones(16, np.float32), constant.name))


def with_a_branch(model: Any) -> None:
    nodes = of_type(model, "PRelu")
    nodes[2].input[0] = nodes[1].output[0]


def with_nothing(model: Any) -> None:
    model.Clear()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_prelu, "step 14 must be PRelu, got Conv"),
        (with_an_end_too_many, "step 88 must be the end, got Relu"),
        (with_other_stride, r"layer2\.0\.depthwise\.conv must have strides \[2, 2\], got \[1, 1\]"),
        (with_other_epsilon, r"stem\.bn must have epsilon 0\.001, got"),
        (with_other_scale, r"Mul must be by 0\.0078125, got \[0\.0039"),
        (with_other_shape, r"stem\.bn\.weight must have shape \(32,\), got \(16,\)"),
        (with_a_branch, "PRelu must follow"),
        (with_nothing, "step 1 must be Sub, got the end"),
    ],
)
def test_another_network_is_refused_and_nothing_is_loaded(
    change: Callable[[Any], None],
    message: str,
    float_file: Path,
    tmp_path: Path,
) -> None:
    model = read_onnx(float_file)
    change(model)
    file = tmp_path / "other.onnx"
    file.write_bytes(model.SerializeToString())
    network = make_backbone("sface")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(WeightsError, match=rf"other\.onnx does not fit .*: .*{message}"):
        load_public_sface(network, file)
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    with pytest.raises(WeightsError, match="does not fit"):
        folded_sface_onnx(file, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_truncated_public_file_is_refused(tmp_path: Path, cache: Path) -> None:
    source = resolve_weights("sface", cache=cache)
    cut = tmp_path / "mine.onnx"
    cut.write_bytes(source.read_bytes()[:5_000_000])
    with pytest.raises(WeightsError, match=r"mine\.onnx must be an ONNX model, its 5,000,000"):
        load_public_sface(make_backbone("sface"), cut)
