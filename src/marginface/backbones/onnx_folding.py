"""Turn a block-quantised ONNX graph into a plain float one.

    weight = (q - zero_point) * scale,   scale and zero_point repeated block_size times along axis

Such graphs hold DequantizeLinear and Reshape nodes on constants, and name unused weights among
their inputs; onnxruntime and OpenCV 5 refuse them. Folded, they hold float weights and run
everywhere.

Source: ONNX operator DequantizeLinear, opset 21, blocked quantisation.
Differs: the last block may be cut short, as in the files of opencv/opencv_zoo.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MissingExtraError, WeightsError

# What DequantizeLinear and Reshape appended to the names of the float release.
_SUFFIXES = ("_reshaped", "_dequantized")


def onnx_module() -> Any:
    """Return the module `onnx`, imported when first needed.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        return importlib.import_module("onnx")
    except ModuleNotFoundError as cause:
        raise MissingExtraError(
            "reading ONNX weights needs the package onnx, which is not installed; "
            "get it with pip install 'marginface[weights]'"
        ) from cause


def read_onnx(path: Path) -> Any:
    """Parse an ONNX file; nothing outside it is read, even if it points there.

    Raises:
        WeightsError: If the file is no ONNX model.
        MissingExtraError: If the package onnx is not installed.
    """
    onnx = onnx_module()
    content = path.read_bytes()
    try:
        return onnx.load_model_from_string(content)
    except Exception as cause:  # protobuf's DecodeError, which onnx gives no name of its own
        raise WeightsError(
            f"{path} must be an ONNX model, its {len(content):,} bytes do not parse as one"
        ) from cause


def constants_of(model: Any) -> dict[str, NDArray[Any]]:
    """Return every initialiser of the graph as an array, by name."""
    to_array = onnx_module().numpy_helper.to_array
    return {tensor.name: to_array(tensor) for tensor in model.graph.initializer}


def attributes_of(node: Any) -> dict[str, Any]:
    """Return the attributes of a node as Python values."""
    get = onnx_module().helper.get_attribute_value
    return {attribute.name: get(attribute) for attribute in node.attribute}


def folded(model: Any) -> Any:
    """Return a new model in which quantised constants are float and the batch size is free.

    Nodes that cannot be folded stay as they are. Weights get back the names of the float release.
    """
    onnx = onnx_module()
    values = constants_of(model)
    kept = []
    for node in model.graph.node:
        value = _constant_result(node, values)
        if value is None:
            kept.append(node)
        else:
            values[node.output[0]] = value
    names = _plain_names(kept, values)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    for node in kept:
        graph.node.add().CopyFrom(node)
        renamed = [names.get(name, name) for name in node.input]
        graph.node[-1].input[:] = renamed
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.ascontiguousarray(values[old]), new)
        for old, new in names.items()
    )
    _keep_real_inputs(graph)
    return result


def _constant_result(node: Any, values: dict[str, NDArray[Any]]) -> NDArray[Any] | None:
    if not all(name in values for name in node.input):
        return None
    inputs = [values[name] for name in node.input]
    if node.op_type == "DequantizeLinear" and len(inputs) == 3:
        attributes = attributes_of(node)
        block = attributes.get("block_size", 0)
        return _dequantised(*inputs, axis=attributes.get("axis", 1), block=block) if block else None
    if node.op_type == "Reshape":
        return inputs[0].reshape(inputs[1])
    return None


def _dequantised(
    quantised: NDArray[Any], scale: NDArray[Any], zero_point: NDArray[Any], *, axis: int, block: int
) -> NDArray[np.float32]:
    def spread(values: NDArray[Any]) -> NDArray[Any]:
        whole = np.repeat(values, block, axis=axis)
        return np.take(whole, np.arange(quantised.shape[axis]), axis=axis)

    # In int8 the difference of -100 and 100 would wrap around.
    difference = quantised.astype(np.int32) - spread(zero_point).astype(np.int32)
    return (difference * spread(scale)).astype(np.float32)


def _plain_names(nodes: list[Any], values: dict[str, NDArray[Any]]) -> dict[str, str]:
    used = [name for node in nodes for name in node.input if name in values]
    names: dict[str, str] = {}
    for name in dict.fromkeys(used):
        plain = name
        for suffix in _SUFFIXES:
            plain = plain.removesuffix(suffix)
        names[name] = plain if plain not in names.values() else name
    return names


def _keep_real_inputs(graph: Any) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    used = {name for node in graph.node for name in node.input}
    real = [value for value in graph.input if value.name in used - constants]
    del graph.input[:]
    graph.input.extend(real)
    for value in [*graph.input, *graph.output]:
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
