"""Finds references to other files in an ONNX model, without the `onnx` package.

A policy is one file with a checksum. A model that names another file could read any file of the
machine, so it must not be loaded. Two things in a model name a file:

- a tensor with `external_data`,
- a node of type `EPContext`, which names a file of an execution provider.

The model is a protobuf message. Each of its fields is a tag (field number and wire type) followed
by a value. This module walks through the messages that can contain tensors or nodes.
"""

from __future__ import annotations

from collections.abc import Iterator

# Kinds of values.
_VARINT, _FIXED_64, _LENGTH_DELIMITED, _FIXED_32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
# Protobuf cuts a tag to its last 32 bits.
_TAG_MASK = 0xFFFFFFFF
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
    fields = 0
    pending = [(memoryview(model), "ModelProto", 0)]
    while pending:
        message, kind, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise ValueError(f"messages are nested deeper than {_MAX_DEPTH} levels")
        for number, value in _fields(message):
            fields += 1
            if fields > _MAX_FIELDS:
                raise ValueError(f"it has more than {_MAX_FIELDS:,} fields")
            if (kind, number) == _EXTERNAL_DATA:
                return True
            if (kind, number) == _OP_TYPE and value == _FILE_NODE:
                return True
            inner = MESSAGES[kind].get(number)
            if inner is not None and value is not None:
                pending.append((value, inner, depth + 1))
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """Yield the field numbers of a message with their values, None for values that are numbers."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire_type = (tag & _TAG_MASK) >> 3, tag & 7
        if number == 0:
            raise ValueError("a field has number 0")
        start = position
        if wire_type == _VARINT:
            _, position = _varint(message, position)
        elif wire_type == _FIXED_64:
            position += 8
        elif wire_type == _FIXED_32:
            position += 4
        elif wire_type == _LENGTH_DELIMITED:
            length, start = _varint(message, position)
            position = start + length
        else:
            raise ValueError(f"a field has wire type {wire_type}, which ONNX does not use")
        if position > len(message):
            raise ValueError("a field is longer than its message")
        yield number, message[start:position] if wire_type == _LENGTH_DELIMITED else None


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Read a variable-length integer: seven bits per byte, lowest first; return it and its end."""
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position + index >= len(message):
            raise ValueError("a number is truncated")
        byte = message[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError(f"a number has more than {_MAX_VARINT_BYTES} bytes")
