"""A policy as a model of Triton Inference Server's model repository."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from qc_core import documents
from qc_core.files import replaced_folder, staged_folder
from qc_core.policy_format.contract import METADATA_KEY, Contract
from qc_core.policy_format.policy_folder import GOLDEN, MODEL, read_contract

# Robots whose requests Triton may combine into one batch.
_MAX_BATCH = 64
_CONFIG = "config.pbtxt"
_TEMPLATE = """name: {name}
backend: "onnxruntime"
max_batch_size: {batch}
dynamic_batching {{ }}
input [
  {{ name: "observation" data_type: TYPE_FP32 dims: {observation} }},
  {{ name: "noise" data_type: TYPE_FP32 dims: {noise} }}
]
output [
  {{ name: "action_chunk" data_type: TYPE_FP32 dims: {chunk} }}
]
parameters {{
  key: {key}
  value {{ string_value: {contract} }}
}}
"""


def write_model(folder: Path, repository: Path, name: str, *, replace: bool = False) -> Path:
    """Add a policy folder to a model repository as `REPOSITORY/NAME`.

    NAME/config.pbtxt   inputs, output, and the contract as a parameter
    NAME/1/model.onnx
    NAME/golden.npz     golden cases with which clients check their results

    Args:
        replace: an earlier model of the same name.

    Raises:
        UsageError: not a policy folder, or `REPOSITORY/NAME` is in use.
    """
    contract = read_contract(folder)
    target = repository / name
    writing = (
        replaced_folder(target, _CONFIG, "a model of Triton") if replace else staged_folder(target)
    )
    with writing as staging:
        (staging / "1").mkdir()
        shutil.copyfile(folder / MODEL, staging / "1" / "model.onnx")
        shutil.copyfile(folder / GOLDEN, staging / GOLDEN)
        (staging / _CONFIG).write_text(_config(contract, name), encoding="ascii")
    return target


def _config(contract: Contract, name: str) -> str:
    # ASCII strings have the same form in JSON and in protobuf text.
    return _TEMPLATE.format(
        name=json.dumps(name),
        batch=_MAX_BATCH,
        observation=_dims([contract.observation_size]),
        noise=_dims(contract.noise.shape),
        chunk=_dims([contract.chunk_length, contract.action_size]),
        key=json.dumps(METADATA_KEY),
        contract=json.dumps(json.dumps(documents.to_json(contract), sort_keys=True)),
    )


def _dims(sizes: Sequence[int]) -> str:
    return f"[ {', '.join(map(str, sizes))} ]"
