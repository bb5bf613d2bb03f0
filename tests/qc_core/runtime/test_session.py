"""Calls of a session are independent, although they reuse bound memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from qc_core.errors import RunError
from qc_core.runtime.session import BoundSession


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """a [B, 3] + b [B, 3]."""
    a, b, total = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3])
        for name in ("a", "b", "total")
    )
    node = helper.make_node("Add", ["a", "b"], ["total"])
    graph = helper.make_graph([node], "sum", [a, b], [total])
    opset = helper.make_opsetid("", 20)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def session(model: Path) -> BoundSession:
    return BoundSession(model, threads=1)


def total(session: BoundSession, a: float, b: float, batch: int) -> np.ndarray:
    def rows(number: float) -> np.ndarray:
        return np.full((batch, 3), number, np.float32)

    return session({"a": rows(a), "b": rows(b)})


def test_each_call_uses_its_own_inputs_and_batch_size(session: BoundSession) -> None:
    for a, batch in [(1, 2), (2, 2), (3, 5), (4, 2), (5, 0)]:
        np.testing.assert_array_equal(total(session, a, 10, batch), np.full((batch, 3), a + 10))


def test_the_next_call_does_not_change_a_result(session: BoundSession) -> None:
    first = total(session, 1, 1, 2)
    total(session, 9, 9, 2)
    np.testing.assert_array_equal(first, np.full((2, 3), 2))


def test_inputs_can_have_any_memory_layout(session: BoundSession) -> None:
    grid = np.arange(24, dtype=np.float32).reshape(4, 6)
    result = session({"a": grid[:, ::2], "b": grid.reshape(6, 4).T[:, :3]})
    np.testing.assert_array_equal(result, grid[:, ::2] + grid.reshape(6, 4).T[:, :3])


def test_a_failed_call_is_one_line_and_the_next_call_works(session: BoundSession) -> None:
    with pytest.raises(RunError, match="the model cannot be run") as refusal:
        session({"a": np.zeros((2, 4), np.float32), "b": np.zeros((2, 4), np.float32)})
    assert "\n" not in str(refusal.value)
    np.testing.assert_array_equal(total(session, 1, 2, 2), np.full((2, 3), 3))


def test_concurrent_calls_do_not_mix_their_inputs(session: BoundSession) -> None:
    def ask(number: int) -> bool:
        return bool((total(session, number, number, 1 + number % 3) == 2 * number).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(2000)))


def test_onnxruntime_warnings_go_to_stderr(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command prints its JSON to stdout."""
    missing = "Failed to load libcublas.so.13"
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print(missing))
    BoundSession(model, threads=1)
    printed = capsys.readouterr()
    assert printed.out == "" and missing in printed.err


def test_a_provider_node_that_names_a_file_is_refused(model: Path) -> None:
    graph = onnx.load(model)
    graph.graph.node[0].op_type = "EPContext"
    onnx.save(graph, model)
    with pytest.raises(RunError, match="in other files"):
        BoundSession(model, threads=1)
