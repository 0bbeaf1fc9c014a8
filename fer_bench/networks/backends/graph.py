"""What an ONNX graph holds: numbers stored, and MACs, counted from what is deployed and from nothing of PyTorch's.

The convention is conv+matmul-v1: multiply-accumulates of convolutions and matrix products. Of a convolution that is
each output element times the weights of one output channel, of a product each output element times the inner size.
"""

import math
from pathlib import Path
from typing import Any

from fer_bench.networks.backends.interface import DeployError, one_line
from fer_bench.records import extras

_FLOATS = (1, 10, 11, 16)  # float, float16, double and bfloat16 of onnx.TensorProto.DataType
_OWN = ("", "ai.onnx")  # domains of ONNX itself; others have operators of which nothing is known


def read(path: Path) -> Any:
    """Return an ONNX model with the shapes of all values, as far as they can be inferred, and without large weights.

    Raises:
        DeployError: the file is none.
    """
    onnx = extras.load("onnx", "counting an ONNX file")
    shape_inference = extras.load("onnx.shape_inference", "counting an ONNX file")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise DeployError(f"{path.name} is no ONNX file: {one_line(error)}") from error
    try:
        return shape_inference.infer_shapes(model)
    except shape_inference.InferenceError:  # the MACs are then unknown
        return model


def values(model: Any) -> int:
    """Return how many floating-point numbers a model stores, int8 ones of QDQ graphs included."""
    integers = {node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return sum(
        math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type in _FLOATS or tensor.name in integers
    )


def arithmetic(model: Any) -> str:
    """Name the lowest precision that a model stores weights in; of QDQ graphs int8."""
    if any(node.op_type in ("DequantizeLinear", "QLinearConv", "ConvInteger") for node in model.graph.node):
        return "int8"
    kinds = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1}
    return next((name for kind, name in ((16, "bfloat16"), (10, "float16")) if kind in kinds), "float32")


def macs(model: Any) -> int | None:
    """Return the MACs of one image; None where an operator or a shape is unknown, which is not the same as none."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for known in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        dims = known.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes.setdefault(known.name, tuple(dim.dim_value for dim in dims))
    batch = next((shapes[one.name][0] for one in model.graph.input if shapes.get(one.name)), 0)
    total = 0
    for node in model.graph.node:
        if node.domain not in _OWN or any(attribute.type in (5, 10) for attribute in node.attribute):
            return None  # of another domain, or one with a graph inside: If, Loop, Scan
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        found = _of_node(node, shapes)
        if found is None:
            return None
        total += found
    return total // batch if batch else None


def _of_node(node: Any, shapes: dict[str, tuple[int, ...]]) -> int | None:
    given, output = [shapes.get(name) for name in node.input[:2]], shapes.get(node.output[0])
    first, second = given
    if first is None or second is None or output is None:
        return None
    if node.op_type == "Conv":
        return math.prod(output) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(output) * first[0 if transposed else -1]
    return math.prod(output) * first[-1]
