"""Models with loops, unknown operators or arrays of any size are refused, also hostile bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qc_core.errors import RunError
from qc_core.runtime.operators import OPERATORS, require_known_operators
from qc_core.runtime.session import BoundSession

A, B = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "ab")


def model(*nodes: Any, weights: dict[str, Any] | None = None, **more: Any) -> onnx.ModelProto:
    """A model with input a [B, 3] and output b [B, 3]."""
    initializer = [numpy_helper.from_array(np.asarray(v), k) for k, v in (weights or {}).items()]
    graph = helper.make_graph([*nodes], "graph", [A], [B], initializer)
    opset = [helper.make_opsetid(domain, 20) for domain in ("", "other")]
    return helper.make_model(graph, opset_imports=opset, ir_version=10, **more)


def loop() -> onnx.ModelProto:
    """Some hundred bytes that would run for years."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["x", "x"], ["y"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    weights = {"times": np.int64(10**12), "true": np.bool_(True)}
    return model(
        helper.make_node("Loop", ["times", "true", "a"], ["b"], body=body), weights=weights
    )


def branch_in_a_known_operator() -> onnx.ModelProto:
    inner = helper.make_graph([helper.make_node("Add", ["a", "a"], ["c"])], "g", [], [])
    return model(helper.make_node("Add", ["a", "a"], ["b"], hidden=inner))


def function() -> onnx.ModelProto:
    body = [helper.make_node("Add", ["x", "x"], ["y"])]
    opset = [helper.make_opsetid("", 20)]
    made = helper.make_function("", "Relu", ["x"], ["y"], body, opset)
    return model(helper.make_node("Relu", ["a"], ["b"]), functions=[made])


def expanded(shape: Any) -> onnx.ModelProto:
    return model(
        helper.make_node("Expand", ["one", "shape"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["most"], keepdims=0),
        helper.make_node("Add", ["a", "most"], ["b"]),
        weights={"one": np.ones(1, np.float32), "shape": np.asarray(shape)},
    )


def computed_shape() -> onnx.ModelProto:
    return model(
        helper.make_node("Mul", ["size", "size"], ["shape"]),
        helper.make_node("Expand", ["a", "shape"], ["b"]),
        weights={"size": np.asarray([10**6], np.int64)},
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (loop, "loops or branches|operator 'Loop'"),
        (branch_in_a_known_operator, "loops or branches"),
        (function, "it has functions"),
        (lambda: expanded(np.asarray([10**12], np.int64)), "an array of 1,000,000,000,000 numbers"),
        (lambda: expanded(np.asarray([2**32, 2**32, 2], np.int64)), "an array of"),
        (lambda: expanded(np.asarray([5], np.int32)), "an array of"),
        (computed_shape, "the shape of an Expand is computed"),
        (lambda: model(helper.make_node("Relu", ["a"], ["b"], domain="other")), "operators of"),
        (lambda: model(helper.make_node("RandomNormalLike", ["a"], ["b"])), "RandomNormalLike"),
    ],
)
def test_what_no_export_has_is_refused_in_one_line(
    tmp_path: Path, make: Callable[[], onnx.ModelProto], says: str
) -> None:
    (tmp_path / "m.onnx").write_bytes(make().SerializeToString())
    with pytest.raises(RunError, match=says) as refusal:
        BoundSession(tmp_path / "m.onnx", threads=1)
    assert "\n" not in str(refusal.value)


def test_a_model_that_needs_too_much_memory_fails_and_others_run(tmp_path: Path) -> None:
    """An outer product of small weights: 40 GB."""
    size = 100_000
    weights = {"c": np.ones((size, 1), np.float32), "r": np.ones((1, size), np.float32)}
    bomb = model(
        helper.make_node("ReduceMax", ["a"], ["m"], keepdims=1),
        helper.make_node("Mul", ["m", "c"], ["column"]),
        helper.make_node("Mul", ["column", "r"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["most"], keepdims=0),
        helper.make_node("Add", ["a", "most"], ["b"]),
        weights=weights,
    )
    small = model(helper.make_node("Relu", ["a"], ["b"]))
    for name, made in (("bomb", bomb), ("small", small)):
        (tmp_path / name).write_bytes(made.SerializeToString())
    observation = {"a": np.ones((1, 3), np.float32)}
    with pytest.raises(RunError, match="cannot be run") as refusal:
        BoundSession(tmp_path / "bomb", threads=1)(observation)
    assert "\n" not in str(refusal.value)
    assert BoundSession(tmp_path / "small", threads=1)(observation).sum() == 3


def test_names_that_are_no_text_are_refused_in_one_line(tmp_path: Path) -> None:
    content = model(helper.make_node("Relu", ["a"], ["b"]), producer_name="test")
    content.metadata_props.add(key="name", value="value")
    for old in (b"value", b"batch"):
        altered = content.SerializeToString().replace(old, b"\xff" * 5)
        (tmp_path / "m.onnx").write_bytes(altered)
        with pytest.raises(RunError, match="cannot be opened") as refusal:
            BoundSession(tmp_path / "m.onnx", threads=1)
        assert "\n" not in str(refusal.value)


def test_exported_policies_use_known_operators(policy: Path) -> None:
    require_known_operators((policy / "policy.onnx").read_bytes())
    names = {node.op_type for node in onnx.load(policy / "policy.onnx").graph.node}
    assert names <= OPERATORS
