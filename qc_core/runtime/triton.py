"""A policy as a model of Triton Inference Server's model repository."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qc_core.files import staged_folder
from qc_core.policy_format.contract import METADATA_KEY
from qc_core.policy_format.policy_folder import GOLDEN, MODEL, read_contract

# Requests of so many robots go through the model at once.
_MAX_BATCH = 64
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


def write_model(folder: Path, repository: Path, name: str) -> Path:
    """Write a policy folder as `REPOSITORY/NAME`, beside the models that are there.

    NAME/config.pbtxt   its inputs and output, and as a parameter its whole contract
    NAME/1/model.onnx
    NAME/golden.npz     for clients to check themselves

    Raises:
        UsageError: not a policy folder, or `REPOSITORY/NAME` is in use.
    """
    contract = read_contract(folder)
    with staged_folder(repository / name) as staging:
        (staging / "1").mkdir()
        shutil.copyfile(folder / MODEL, staging / "1" / "model.onnx")
        shutil.copyfile(folder / GOLDEN, staging / GOLDEN)
        (staging / "config.pbtxt").write_text(_config(contract, name), encoding="ascii")
    return repository / name


def _config(contract: dict[str, Any], name: str) -> str:
    # JSON's strings are protobuf text's, as long as they are ASCII.
    return _TEMPLATE.format(
        name=json.dumps(name),
        batch=_MAX_BATCH,
        observation=_dims([len(contract["observation"]["names"])]),
        noise=_dims(contract["noise"]["shape"]),
        chunk=_dims([contract["horizon"], len(contract["action"]["names"])]),
        key=json.dumps(METADATA_KEY),
        contract=json.dumps(json.dumps(contract, sort_keys=True)),
    )


def _dims(sizes: Sequence[int]) -> str:
    return f"[ {', '.join(map(str, sizes))} ]"
