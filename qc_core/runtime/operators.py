"""Refuses models with operators that no exported policy has, without the `onnx` package.

A model is a program. With loops, a file of some hundred bytes can run for years, and an array can
take its size from a number in the file. Exported policies need neither.
"""

from __future__ import annotations

import math

import numpy as np

from qc_core.runtime.protobuf import fields

# What exports contain, and operators on single numbers that other networks may have.
OPERATORS = frozenset(
    [
        "Abs",
        "Add",
        "ArgMax",
        "Cast",
        "Clip",
        "Concat",
        "Cos",
        "Div",
        "Elu",
        "Erf",
        "Exp",
        "Expand",
        "GatherElements",
        "Gelu",
        "Gemm",
        "Identity",
        "LayerNormalization",
        "LeakyRelu",
        "Log",
        "MatMul",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Pow",
        "ReduceMax",
        "ReduceMean",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Selu",
        "Sigmoid",
        "Sin",
        "Softmax",
        "Softplus",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Tanh",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)
# Their second input is the shape of the output.
_SHAPED = ("Expand", "Reshape")
_DOMAINS = (b"", b"ai.onnx")
# As many numbers as a policy may have for one observation.
_MAX_NUMBERS = 1 << 24
# Field numbers of ONNX.
_GRAPH, _TRAINING, _FUNCTION = 7, 20, 25
_NODE, _INITIALIZER, _SPARSE = 1, 5, 15
_INPUT, _OP_TYPE, _ATTRIBUTE, _DOMAIN = 1, 4, 5, 7
_SUBGRAPHS = (6, 11)
_NAME, _RAW_DATA = 8, 9
# Encodings of numbers that exports do not use: float_data, int32_data, int64_data, …
_OTHER_DATA = (4, 5, 6, 7, 10, 11)


def require_known_operators(model: bytes) -> None:
    """Refuse a model with an operator that exports do not use, or with an array of any size.

    Args:
        model: the content of the `.onnx` file.

    Raises:
        ValueError: the model contains something else, or is not a protobuf message.
    """
    # Protobuf merges fields that occur several times, so all of them are read.
    nodes: list[memoryview] = []
    shapes: dict[bytes, int] = {}
    for number, value in fields(memoryview(model)):
        if number in (_TRAINING, _FUNCTION):
            raise ValueError("it has functions, which no export has")
        if number != _GRAPH or value is None:
            continue
        for part, content in fields(value):
            if part == _SPARSE:
                raise ValueError("it has sparse weights, which no export has")
            if part == _NODE and content is not None:
                nodes.append(content)
            elif part == _INITIALIZER and content is not None:
                name, numbers = _shape(content)
                shapes[name] = numbers if name not in shapes else _MAX_NUMBERS + 1
    for node in nodes:
        _check_node(node, shapes)


def _check_node(node: memoryview, shapes: dict[bytes, int]) -> None:
    """
    Args:
        shapes: for each array of integers in the file, the size of an array of that shape.
    """
    inputs, operators = [], []
    for number, value in fields(node):
        if value is None:
            continue
        if number == _INPUT:
            inputs.append(bytes(value))
        elif number == _OP_TYPE:
            operators.append(bytes(value).decode("ascii", "replace"))
        elif number == _DOMAIN and bytes(value) not in _DOMAINS:
            raise ValueError(f"it has operators of {bytes(value)[:50]!r}, which no export has")
        elif number == _ATTRIBUTE and any(field in _SUBGRAPHS for field, _ in fields(value)):
            raise ValueError("it has loops or branches, which no export has")
    for operator in operators:
        if operator not in OPERATORS:
            raise ValueError(f"it has the operator {operator[:50]!r}, which no export has")
        if operator in _SHAPED:
            numbers = shapes.get(inputs[1] if len(inputs) > 1 else b"")
            if numbers is None:
                raise ValueError(f"the shape of an {operator} is computed, which no export does")
            if numbers > _MAX_NUMBERS:
                raise ValueError(
                    f"it has an array of {numbers:,} numbers for one observation "
                    f"(limit {_MAX_NUMBERS:,})"
                )


def _shape(tensor: memoryview) -> tuple[bytes, int]:
    """Return a tensor's name, and the size of an array whose shape it contains.

    A tensor that cannot be a shape has a size above the limit.
    """
    name, contents, others = b"", [], 0
    for number, value in fields(tensor):
        if number == _NAME and value is not None:
            name = bytes(value)
        elif number == _RAW_DATA and value is not None:
            contents.append(bytes(value))
        others += number in _OTHER_DATA
    # Up to eight dimensions of eight bytes.
    if others or len(contents) != 1 or len(contents[0]) % 8 or len(contents[0]) > 64:
        return name, _MAX_NUMBERS + 1
    # -1 is computed from the other dimensions, 0 is taken from the input.
    return name, math.prod(max(1, int(size)) for size in np.frombuffer(contents[0], "<i8"))
