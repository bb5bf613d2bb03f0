"""Finds references to other files in an ONNX model, without the `onnx` package.

A policy is one file with a checksum. A model that names another file could read any file of the
machine, so it must not be loaded. Two things in a model name a file:

- a tensor with `external_data`,
- a node of type `EPContext`, which names a file of an execution provider.

The model is a protobuf message. Each of its fields is a tag (field number and wire type) followed
by a value. This module walks through the messages that can contain tensors or nodes.
"""

from __future__ import annotations

from qc_core.runtime.protobuf import fields

# Protobuf's own limit.
_MAX_DEPTH = 100
# A policy has some thousands of fields. A million takes a second.
_MAX_FIELDS = 1_000_000

# For each message type: field numbers of the messages in it that can lead to a tensor or a node.
MESSAGES: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
_OP_TYPE = ("NodeProto", 4)
_EXTERNAL_DATA = ("TensorProto", 13)
_FILE_NODE = b"EPContext"


def names_other_files(model: bytes) -> bool:
    """Return whether an ONNX model refers to files other than itself.

    Args:
        model: the content of the `.onnx` file.

    Raises:
        ValueError: the bytes are not a protobuf message, or exceed its limits.
    """
    count = 0
    pending = [(memoryview(model), "ModelProto", 0)]
    while pending:
        message, kind, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise ValueError(f"messages are nested deeper than {_MAX_DEPTH} levels")
        for number, value in fields(message):
            count += 1
            if count > _MAX_FIELDS:
                raise ValueError(f"it has more than {_MAX_FIELDS:,} fields")
            if (kind, number) == _EXTERNAL_DATA:
                return True
            if (kind, number) == _OP_TYPE and value == _FILE_NODE:
                return True
            inner = MESSAGES[kind].get(number)
            if inner is not None and value is not None:
                pending.append((value, inner, depth + 1))
    return False
