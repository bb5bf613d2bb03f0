"""Policies with an invalid contract, or a model that does not match it, are refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from qc_core.errors import QCError, RunError, UsageError
from qc_core.policy_format.contract import METADATA_KEY
from qc_core.policy_format.policy_folder import write_checksums
from qc_core.runtime import ChunkPolicy

Alter = Callable[[onnx.ModelProto, dict[str, Any]], None]


def altered(policy: Path, folder: Path, alter: Alter, *, consistent: bool = True) -> Path:
    """Copy a policy with changes; `consistent` also changes the contract inside the model."""
    shutil.copytree(policy, folder)
    model = onnx.load(folder / "policy.onnx")
    contract = json.loads((folder / "policy.json").read_text())
    alter(model, contract)
    (folder / "policy.json").write_text(json.dumps(contract))
    if consistent:
        metadata = {entry.key: entry for entry in model.metadata_props}
        metadata[METADATA_KEY].value = json.dumps(contract)
    (folder / "policy.onnx").write_bytes(model.SerializeToString())
    write_checksums(folder)
    return folder


def refused(folder: Path, kind: type[QCError], message: str) -> None:
    with pytest.raises(kind, match=message) as refusal:
        ChunkPolicy.load(folder)
    assert "\n" not in str(refusal.value)


def test_an_unaltered_copy_runs(policy: Path, tmp_path: Path) -> None:
    copy = altered(policy, tmp_path / "copy", lambda *_: None)
    assert ChunkPolicy.load(copy).act(np.zeros(28)).shape == (5,)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["schema-version"], 99, "policy schema 1 or 2 is needed, got 99"),
        (["chunk-length"], 0, "'chunk-length' must be a positive integer, got 0"),
        (["chunk-length"], True, r"`int`, got `bool` - at `\$.chunk-length`"),
        (
            ["chunk-length"],
            10**12,
            "asks for 5,000,000,000,000 numbers for one observation, at most",
        ),
        (["noise", "shape"], [10**9, 10**9], "at most 16,777,216 are allowed"),
        (["noise", "shape"], [], r"positive integers, got \[\]"),
        (["noise", "shape"], [-25], r"positive integers, got \[-25\]"),
        (["noise", "shape"], ["25"], "`int`, got `str`"),
        (["observation", "names"], [], "observation needs a list of names"),
        (["observation", "names"], [1, 2], r"`str`, got `int` - at `\$.observation.names\[0\]`"),
        (["action", "names"], [None], r"`str`, got `null` - at `\$.action.names\[0\]`"),
        (["action", "low"], [0.0], "'low' needs one finite number for each action"),
        (["action", "high"], [float("nan")] * 5, "'high' needs one finite number"),
        (
            ["action", "low"],
            [-1, -1, -1, 2, -1],
            "the low bound of '.*' must not be above its high bound, got 2 and 1",
        ),
        (["control-interval-seconds"], 0, "must be a finite number above 0, got 0"),
        (["control-interval-seconds"], float("nan"), "must be a finite number above 0, got nan"),
        (["control-interval-seconds"], True, "`float`, got `bool`"),
        (["episode-limit"], 0, "'episode-limit' must be a positive integer, got 0"),
        (["execution-horizon"], True, r"`int`, got `bool` - at `\$.execution-horizon`"),
        (["execution-horizon"], 0, "'execution-horizon' must be a positive integer, got 0"),
        (["action"], {}, "missing required field `names`"),
        (["noise"], [25], "`object`, got `array`"),
    ],
)
def test_an_invalid_contract_is_refused(
    policy: Path, tmp_path: Path, path: list[str], value: Any, message: str
) -> None:
    def alter(_: onnx.ModelProto, contract: dict[str, Any]) -> None:
        for name in path[:-1]:
            contract = contract[name]
        contract[path[-1]] = value

    refused(altered(policy, tmp_path / "copy", alter), UsageError, message)


def test_a_model_without_metadata_is_refused(policy: Path, tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto, _: dict[str, Any]) -> None:
        del model.metadata_props[:]

    copy = altered(policy, tmp_path / "copy", alter, consistent=False)
    refused(copy, UsageError, r"policy\.onnx has no metadata 'qc\.policy'")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{", "metadata are not readable JSON"),
        ("[" * 100_000, "metadata are not readable JSON"),
        ("{}", "of different policies: pull it again"),
    ],
)
def test_metadata_of_another_policy_is_refused(
    policy: Path, tmp_path: Path, metadata: str, message: str
) -> None:
    def alter(model: onnx.ModelProto, _: dict[str, Any]) -> None:
        model.metadata_props[0].value = metadata

    refused(altered(policy, tmp_path / "copy", alter, consistent=False), RunError, message)


def fewer_observations(_: onnx.ModelProto, contract: dict[str, Any]) -> None:
    del contract["observation"]["names"][3:]


def shorter_chunk(_: onnx.ModelProto, contract: dict[str, Any]) -> None:
    contract.update({"chunk-length": 4, "execution-horizon": 4})


def other_noise(_: onnx.ModelProto, contract: dict[str, Any]) -> None:
    contract["noise"]["shape"] = [5, 5]


def fixed_batch(model: onnx.ModelProto, _: dict[str, Any]) -> None:
    for entry in model.graph.input:
        entry.type.tensor_type.shape.dim[0].dim_value = 1


def one_more_output(model: onnx.ModelProto, _: dict[str, Any]) -> None:
    extra = onnx.helper.make_tensor_value_info("extra", 1, ["batch", 28])
    model.graph.node.append(onnx.helper.make_node("Identity", ["observation"], ["extra"]))
    model.graph.output.append(extra)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (fewer_observations, r"\[batch, 3\] is needed for observation, got \['.*', 28\]"),
        (shorter_chunk, r"\[batch, 4, 5\] is needed for action_chunk"),
        (other_noise, r"\[batch, 5, 5\] is needed for noise, got \['.*', 25\]"),
        (fixed_batch, r"\[batch, 28\] is needed for observation, got \[1, 28\]"),
        (one_more_output, "nothing of that name is needed for extra"),
    ],
)
def test_a_model_whose_shapes_differ_from_its_contract_is_refused(
    policy: Path, tmp_path: Path, alter: Alter, message: str
) -> None:
    refused(altered(policy, tmp_path / "copy", alter), RunError, message)


@pytest.mark.parametrize("location", ["../secret.bin", ".secret.bin", "{outside}/secret.bin"])
def test_weights_outside_the_model_file_are_refused(
    policy: Path, tmp_path: Path, location: str
) -> None:
    """They have no checksum and could be any file of this machine."""

    def alter(model: onnx.ModelProto, _: dict[str, Any]) -> None:
        weights = model.graph.initializer[0]
        named = location.format(outside=tmp_path)
        (tmp_path / "copy" / named).write_bytes(numpy_helper.to_array(weights).tobytes())
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
        entry = weights.external_data.add()
        entry.key, entry.value = "location", named

    copy = altered(policy, tmp_path / "copy", alter)
    refused(copy, RunError, r"policy\.onnx has weights in other files: a policy must be one file")


@pytest.mark.parametrize(
    "tag_and_length",
    [
        b"\x8a\x80\x80\x80\x10\x08",
        b"\x8a\x80\x80\x80\x00\x08",
        b"\x0a\x88\x80\x80\x80\x00",
        b"\x8a\x00\x88\x80\x80\x00",
        b"\x8a\x80\x10\x88\x80\x00",
    ],
)
def test_external_weights_are_found_in_any_field_encoding(
    policy: Path, tmp_path: Path, tag_and_length: bytes
) -> None:
    """Protobuf readers accept overlong numbers and cut tags to 32 bits."""

    def alter(model: onnx.ModelProto, _: dict[str, Any]) -> None:
        entry = model.graph.initializer[0].external_data.add()
        entry.key, entry.value = "roomlocation", "weights.bin"

    copy = altered(policy, tmp_path / "copy", alter)
    content = (copy / "policy.onnx").read_bytes()
    assert content.count(b"\x0a\x0croomlocation") == 1
    content = content.replace(b"\x0a\x0croomlocation", tag_and_length + b"location")
    (copy / "policy.onnx").write_bytes(content)
    write_checksums(copy)
    refused(copy, RunError, "has weights in other files")


@pytest.mark.parametrize("length", [0, 1000, -1000])
def test_a_truncated_model_with_correct_checksums_is_refused(
    policy: Path, tmp_path: Path, length: int
) -> None:
    copy = Path(shutil.copytree(policy, tmp_path / "copy"))
    content = (copy / "policy.onnx").read_bytes()
    (copy / "policy.onnx").write_bytes(content[:length])
    write_checksums(copy)
    refused(copy, RunError, r"policy\.onnx cannot be opened")


@pytest.mark.parametrize("added", [np.nan, np.inf, -np.inf, 10.0, -10.0, 3e-5])
def test_nan_and_actions_outside_the_bounds_are_refused(
    policy: Path, tmp_path: Path, added: float
) -> None:
    """The value is added after the chunk was clipped to its bounds."""

    def alter(model: onnx.ModelProto, _: dict[str, Any]) -> None:
        constants = {"added": added, "steep": 1e6, "low": -1.0, "high": 1.0}
        for name, value in constants.items():
            model.graph.initializer.append(
                numpy_helper.from_array(np.array(value, np.float32), name)
            )
        model.graph.node[-1].output[0] = "before"
        for kind, inputs, output in [
            ("Mul", ["before", "steep"], "far"),
            ("Clip", ["far", "low", "high"], "at_the_bounds"),
            ("Add", ["at_the_bounds", "added"], "action_chunk"),
        ]:
            model.graph.node.append(onnx.helper.make_node(kind, inputs, [output]))

    runner = ChunkPolicy.load(altered(policy, tmp_path / "copy", alter))
    with pytest.raises(RunError, match="NaN or actions outside its own action bounds") as refusal:
        runner.act(np.zeros(28))
    assert "\n" not in str(refusal.value)
