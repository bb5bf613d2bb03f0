"""Requests and responses of the Open Inference Protocol in JSON.

Shapes: B batch, O observation, H actions per chunk, A action.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qc_core import __version__, documents
from qc_core.errors import UsageError
from qc_core.files import parse_json
from qc_core.runtime.policy import ChunkPolicy

VERSION = "1"
MAX_BATCH = 64
# Parsed JSON takes thirty times its size in memory.
_MAX_BYTES = 16 << 20
# Byte budget per JSON number, and for the rest of a request.
_NUMBER_BYTES, _OTHER_BYTES = 32, 1 << 16
# Characters of a request's values in an error message.
_CUT = 50


def max_request_bytes(policy: ChunkPolicy) -> int:
    """Return the size limit of a request, which allows a full batch."""
    numbers = MAX_BATCH * (policy.observation_size + math.prod(policy.noise_shape))
    return min(numbers * _NUMBER_BYTES + _OTHER_BYTES, _MAX_BYTES)


def server_metadata() -> dict[str, Any]:
    return {"name": "q-chunking", "version": __version__, "extensions": []}


def model_metadata(name: str, policy: ChunkPolicy) -> dict[str, Any]:
    """Return the inputs, the output and the contract of a policy."""
    chunk = [policy.contract.chunk_length, policy.action_size]
    return {
        "name": name,
        "versions": [VERSION],
        "platform": "onnx",
        "inputs": [
            {"name": "observation", "datatype": "FP32", "shape": [-1, policy.observation_size]},
            {"name": "noise", "datatype": "FP32", "shape": [-1, *policy.noise_shape]},
        ],
        "outputs": [{"name": "action_chunk", "datatype": "FP32", "shape": [-1, *chunk]}],
        "parameters": {"contract": documents.to_json(policy.contract)},
    }


def infer(name: str, policy: ChunkPolicy, body: bytes) -> dict[str, Any]:
    """Answer a request for chunks.

    Raises:
        UsageError: not a request of the protocol, or `ChunkPolicy.chunk` refuses the inputs.
        RunError: as `ChunkPolicy.chunk`.
    """
    try:
        request = parse_json(body)
    except ValueError as error:
        raise UsageError(
            f"the request is not JSON: {' '.join(str(error).split())[:200]}"
        ) from error
    tensors = _tensors(request)
    if "observation" not in tensors or not tensors.keys() <= {"observation", "noise"}:
        got = [name[:_CUT] for name in sorted(tensors)[:5]]
        raise UsageError(f"the inputs must be observation and, optionally, noise, got {got}")
    observation_BO = tensors["observation"]
    if observation_BO.ndim != 2 or not 0 < len(observation_BO) <= MAX_BATCH:
        raise UsageError(
            f"observation must be [B, {policy.observation_size}] with B from 1 to {MAX_BATCH}, "
            f"got {list(observation_BO.shape)}"
        )
    chunk_BHA = policy.chunk(observation_BO, tensors.get("noise"))
    answer = {
        "model_name": name,
        "model_version": VERSION,
        "outputs": [
            {
                "name": "action_chunk",
                "datatype": "FP32",
                "shape": list(chunk_BHA.shape),
                "data": chunk_BHA.ravel().tolist(),
            }
        ],
    }
    if isinstance(request.get("id"), str):
        answer["id"] = request["id"]
    return answer


def _tensors(request: Any) -> dict[str, np.ndarray]:
    """Return the inputs by name as arrays (UsageError: they do not follow the protocol)."""
    inputs = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(inputs, list):
        raise UsageError('the request needs "inputs", a list of tensors')
    tensors: dict[str, np.ndarray] = {}
    for entry in inputs:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise UsageError("an input needs name, datatype, shape and data")
        name: str = entry["name"]
        shape, data = entry.get("shape"), entry.get("data")
        shown, datatype = name[:_CUT], str(entry.get("datatype"))
        if name in tensors:
            raise UsageError(f"{shown} is given twice")
        if datatype != "FP32":
            raise UsageError(f"{shown} must have datatype FP32, got {datatype[:_CUT]!r}")
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise UsageError(f"{shown} needs its shape, a list of sizes")
        try:
            if not _are_numbers(data):
                raise TypeError
            tensors[name] = np.asarray(data, np.float32).reshape(shape)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            wanted = str(shape[:9])[:_CUT]
            raise UsageError(f"{shown} does not hold numbers of shape {wanted}") from error
    return tensors


def _are_numbers(data: Any) -> bool:
    """Return whether a list holds only numbers or lists of them; NumPy also converts strings."""
    kinds = set(map(type, data))
    return all(map(_are_numbers, data)) if kinds == {list} else kinds <= {int, float}
