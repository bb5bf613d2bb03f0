"""Reads the fields of a protobuf message, without a description of the message.

Each field is a tag (field number and wire type) followed by a value.
"""

from __future__ import annotations

from collections.abc import Iterator

# Kinds of values.
_VARINT, _FIXED_64, _LENGTH_DELIMITED, _FIXED_32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
# Protobuf cuts a tag to its last 32 bits.
_TAG_MASK = 0xFFFFFFFF


def fields(message: memoryview) -> Iterator[tuple[int, memoryview | None]]:
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
