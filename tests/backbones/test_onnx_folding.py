"""Folding equals a loop over the elements, and keeps what it cannot fold."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from marginface.backbones.onnx_folding import constants_of, folded, onnx_module, read_onnx
from marginface.errors import MissingExtraError, WeightsError

BLOCK = 4


def quantised_model(
    quantised: np.ndarray[Any, Any],
    scale: np.ndarray[Any, Any],
    zero_point: np.ndarray[Any, Any],
    *,
    axis: int,
) -> Any:
    """x -> Gemm with a quantised, reshaped weight; the weight's float name is an unused input."""
    constants = {
        "w_quantized": quantised,
        "w_scales": scale,
        "w_zero_point": zero_point,
        "w_shape": np.array([quantised.size, 1]),
    }
    nodes = [
        helper.make_node(
            "DequantizeLinear",
            ["w_quantized", "w_scales", "w_zero_point"],
            ["w_dequantized"],
            axis=axis,
            block_size=BLOCK,
        ),
        helper.make_node("Reshape", ["w_dequantized", "w_shape"], ["w_reshaped"]),
        helper.make_node("Gemm", ["x", "w_reshaped"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, quantised.size]),
        helper.make_tensor_value_info("w", TensorProto.FLOAT, [quantised.size, 1]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])]
    initialisers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("length", [8, 10])  # whole blocks, and a last one cut short
def test_equals_a_loop(axis: int, length: int) -> None:
    generator = np.random.default_rng(1)
    shape = (3, length) if axis == 1 else (length, 3)
    blocks = tuple(-(-n // BLOCK) if i == axis else n for i, n in enumerate(shape))
    quantised = generator.integers(-128, 128, shape, dtype=np.int8)
    zero_point = generator.integers(-128, 128, blocks, dtype=np.int8)
    scale = generator.random(blocks, dtype=np.float32) + 0.01
    expected = np.empty(shape, dtype=np.float32)
    for row in range(shape[0]):
        for column in range(shape[1]):
            at = (row, column // BLOCK) if axis == 1 else (row // BLOCK, column)
            number = int(quantised[row, column]) - int(zero_point[at])
            expected[row, column] = number * scale[at]

    original = quantised_model(quantised, scale, zero_point, axis=axis)
    before = original.SerializeToString()
    model = folded(original)

    assert original.SerializeToString() == before
    assert list(constants_of(model)) == ["w"]
    np.testing.assert_allclose(constants_of(model)["w"], expected.reshape(-1, 1), rtol=1e-6)
    assert [node.op_type for node in model.graph.node] == ["Gemm"]
    assert list(model.graph.node[0].input) == ["x", "w"]
    assert [value.name for value in model.graph.input] == ["x"]
    onnx.checker.check_model(model, full_check=True)


def test_the_batch_size_becomes_free() -> None:
    ones = np.ones((1, 8), dtype=np.int8)
    scale = np.ones((1, 2), dtype=np.float32)
    model = folded(quantised_model(ones, scale, np.zeros((1, 2), np.int8), axis=1))
    for value in (model.graph.input[0], model.graph.output[0]):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_what_is_not_blockwise_stays() -> None:
    model = quantised_model(
        np.ones((2, 8), np.int8), np.ones((2, 2), np.float32), np.zeros((2, 2), np.int8), axis=1
    )
    del model.graph.node[0].attribute[:]
    kept = [node.op_type for node in folded(model).graph.node]
    assert kept == ["DequantizeLinear", "Reshape", "Gemm"]


def test_a_float_model_keeps_its_weights() -> None:
    model = quantised_model(
        np.ones((1, 8), np.int8), np.ones((1, 2), np.float32), np.zeros((1, 2), np.int8), axis=1
    )
    once = folded(model)
    twice = folded(once)
    assert twice.SerializeToString() == once.SerializeToString()


@pytest.mark.parametrize("content", [b"not a model at all", bytes([0x0A, 0xFF, 0xFF, 0x7F, 1])])
def test_other_files_are_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.onnx"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"x\.onnx must be an ONNX model, its {len(content)} b"):
        read_onnx(file)


def test_without_onnx_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'marginface\[weights\]'"):
        onnx_module()
