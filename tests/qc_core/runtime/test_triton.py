"""The Triton model repository follows Triton's schema and contains the contract."""

import json
from pathlib import Path

import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import (
    DataType,  # pyright: ignore[reportAttributeAccessIssue]  made when it is imported
    ModelConfig,  # pyright: ignore[reportAttributeAccessIssue]
)

from qc_core.errors import UsageError
from qc_core.runtime.triton import write_model


def test_the_config_follows_tritons_schema_and_fits_the_model(policy: Path, tmp_path: Path) -> None:
    assert write_model(policy, tmp_path, "cube") == tmp_path / "cube"
    config = text_format.Parse((tmp_path / "cube" / "config.pbtxt").read_text(), ModelConfig())
    model = tmp_path / "cube" / "1" / "model.onnx"
    assert model.read_bytes() == (policy / "policy.onnx").read_bytes()
    assert (config.name, config.backend) == ("cube", "onnxruntime")
    # Triton adds the batch dimension in front.
    assert config.max_batch_size > 1

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for described, real in (
        (config.input, session.get_inputs()),
        (config.output, session.get_outputs()),
    ):
        assert {entry.name: list(entry.dims) for entry in described} == {
            entry.name: entry.shape[1:] for entry in real
        }
        assert {entry.data_type for entry in described} == {DataType.Value("TYPE_FP32")}


def test_clients_find_the_contract_and_the_golden_cases(policy: Path, tmp_path: Path) -> None:
    write_model(policy, tmp_path, "cube")
    config = text_format.Parse((tmp_path / "cube" / "config.pbtxt").read_text(), ModelConfig())
    assert json.loads(config.parameters["qc.policy"].string_value) == json.loads(
        (policy / "policy.json").read_text()
    )
    golden = (tmp_path / "cube" / "golden.npz").read_bytes()
    assert golden == (policy / "golden.npz").read_bytes()


@pytest.mark.parametrize("name", ['grüner "Würfel" \\ \' \n', "{ }", "日本"])
def test_any_name_in_a_contract_is_escaped(policy: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "policy"
    folder.mkdir()
    for path in policy.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    contract = json.loads((policy / "policy.json").read_text())
    contract["observation"]["names"][0] = name
    (folder / "policy.json").write_text(json.dumps(contract))
    config = write_model(folder, tmp_path / "repository", "cube") / "config.pbtxt"
    parsed = text_format.Parse(config.read_text(), ModelConfig())
    assert json.loads(parsed.parameters["qc.policy"].string_value) == contract


def test_a_model_is_added_and_replaces_no_other(policy: Path, tmp_path: Path) -> None:
    write_model(policy, tmp_path, "one")
    write_model(policy, tmp_path, "two")
    with pytest.raises(UsageError, match="is in use"):
        write_model(policy, tmp_path, "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
