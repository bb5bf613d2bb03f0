"""Models that name other files are found in their bytes, also in hostile ones."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qc_core.runtime.external_files import MESSAGES, names_other_files


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def nested(*numbers: int, content: bytes) -> bytes:
    """Content inside messages inside messages, the outermost field number first."""
    for number in reversed(numbers):
        content = field(number, content)
    return content


EXTERNAL = field(13, field(1, b"location") + field(2, b"weights.bin"))


@pytest.mark.parametrize(
    "path",
    [
        (7, 5),  # graph.initializer
        (7, 15, 1),  # graph.sparse_initializer.values
        (7, 15, 2),  # graph.sparse_initializer.indices
        (7, 1, 5, 5),  # graph.node.attribute.t
        (7, 1, 5, 10),  # graph.node.attribute.tensors
        (7, 1, 5, 6, 5),  # graph.node.attribute.g.initializer
        (7, 1, 5, 11, 5),  # graph.node.attribute.graphs.initializer
        (7, 1, 5, 22, 1),  # graph.node.attribute.sparse_tensor.values
        (7, 1, 5, 23, 2),  # graph.node.attribute.sparse_tensors.indices
        (20, 1, 5),  # training_info.initialization.initializer
        (20, 2, 5),  # training_info.algorithm.initializer
        (25, 7, 5, 5),  # functions.node.attribute.t
        (25, 11, 5),  # functions.attribute_proto.t
    ],
)
def test_external_data_is_found_in_every_tensor(path: tuple[int, ...]) -> None:
    assert names_other_files(nested(*path, content=EXTERNAL))
    assert not names_other_files(nested(*path, content=field(9, b"raw data location EPContext")))


@pytest.mark.parametrize("path", [(7, 1), (7, 1, 5, 6, 1), (7, 1, 5, 11, 1), (20, 1, 1), (25, 7)])
def test_a_provider_node_is_found_in_every_graph(path: tuple[int, ...]) -> None:
    assert names_other_files(nested(*path, content=field(4, b"EPContext")))
    assert not names_other_files(nested(*path, content=field(4, b"Identity")))


@pytest.mark.parametrize(
    ("tag", "length"),
    [
        (b"\xea\x00", b"\x00"),
        (b"\xea\x80\x80\x80\x00", b"\x80\x80\x80\x80\x00"),
        # Protobuf drops the bits of a tag above 32.
        (b"\xea\x80\x80\x80\x10", b"\x00"),
    ],
)
def test_external_data_is_found_however_its_field_is_encoded(tag: bytes, length: bytes) -> None:
    assert names_other_files(nested(7, 5, content=tag + length))


def test_later_fields_are_found_after_fields_of_every_kind() -> None:
    numbers = b"\x10\x96\x01" + b"\x19" + bytes(8) + b"\x25" + bytes(4) + field(9, bytes(1000))
    assert names_other_files(nested(7, 5, content=numbers + EXTERNAL))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"\x3a", "a number is truncated"),
        (b"\x3a\x80", "a number is truncated"),
        (b"\x3a\x05\x0a", "a field is longer than its message"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "a field is longer than its message"),
        (b"\x3a" + b"\xff" * 20, "a number has more than 10 bytes"),
        (b"\x80" * 20, "a number has more than 10 bytes"),
        (b"\x08" + b"\x80" * 20, "a number has more than 10 bytes"),
        (b"\x09\x00", "a field is longer than its message"),
        (b"\x0d\x00", "a field is longer than its message"),
        (b"\x00\x00", "a field has number 0"),
        (b"\x3b\x3c", "wire type 3"),
        (b"\x3f", "wire type 7"),
        # A length that only the surrounding message could satisfy.
        (field(7, b"\x2a\x05") + b"\x08\x00" * 9, "a field is longer than its message"),
        (nested(7, *[1, 5, 6] * 40, content=b""), "nested deeper than 100 levels"),
    ],
)
def test_malformed_bytes_are_refused(model: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        names_other_files(model)


def test_many_fields_are_refused_in_seconds() -> None:
    begun = time.monotonic()
    with pytest.raises(ValueError, match="more than 1,000,000 fields"):
        names_other_files(field(7, field(5, b"\x10\x00" * 3_000_000)))
    assert time.monotonic() - begun < 30


def test_a_model_without_other_files_is_accepted(policy: Path) -> None:
    assert not names_other_files((policy / "policy.onnx").read_bytes())
    assert not names_other_files(b"")


def test_a_subgraph_of_the_onnx_package_is_searched() -> None:
    weights = numpy_helper.from_array(np.zeros(4, np.float32), "weights")
    branch = helper.make_graph([], "branch", [], [], initializer=[weights])
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch)
    model = helper.make_model(helper.make_graph([node], "graph", [], []))
    assert not names_other_files(model.SerializeToString())
    inner = model.graph.node[0].attribute[0].g.initializer[0]
    inner.data_location = TensorProto.EXTERNAL
    inner.external_data.add(key="location", value="weights.bin")
    assert names_other_files(model.SerializeToString())


def test_every_message_that_leads_to_a_tensor_or_a_node_is_listed() -> None:
    """The field numbers are those of the installed `onnx` package."""
    reached: dict[str, Any] = {}
    pending = [onnx.ModelProto.DESCRIPTOR]
    while pending:
        message = pending.pop()
        if message.name not in reached:
            reached[message.name] = message
            pending += [f.message_type for f in message.fields if f.message_type]

    def children(message: Any) -> dict[int, str]:
        return {f.number: f.message_type.name for f in message.fields if f.message_type}

    leading = {"TensorProto", "NodeProto"}
    while grown := {
        name
        for name, message in reached.items()
        if name not in leading and leading & set(children(message).values())
    }:
        leading |= grown
    expected = {
        name: {n: child for n, child in children(reached[name]).items() if child in leading}
        for name in leading
    }
    assert expected == MESSAGES
