"""Requests and responses of the Open Inference Protocol, with tensors in JSON or in binary form.

A message with binary tensors is a JSON header followed by the bytes of its tensors, in order. The
HTTP header `Inference-Header-Content-Length` contains the size of the JSON.

Shapes: B batch, O observation, H actions per chunk, A action.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from qc_core import __version__, documents
from qc_core.errors import UsageError
from qc_core.files import parse_json
from qc_core.policy_format.contract import METADATA_KEY
from qc_core.runtime.policy import ChunkPolicy

# The version of a policy folder, which has no version of the store.
VERSION = "1"
BINARY_HEADER = "Inference-Header-Content-Length"
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
    return {"name": "q-chunking", "version": __version__, "extensions": ["binary_tensor_data"]}


def model_index(name: str, version: str) -> list[dict[str, str]]:
    """Return the list of models as Triton's repository index."""
    return [{"name": name, "version": version, "state": "READY", "reason": ""}]


def model_config(name: str, policy: ChunkPolicy) -> dict[str, Any]:
    """Return the configuration of the model as Triton describes it, without the batch dimension."""
    shapes = {"observation": [policy.observation_size], "noise": list(policy.noise_shape)}
    chunk = [policy.contract.chunk_length, policy.action_size]

    def tensor(name: str, dims: list[int], **more: bool) -> dict[str, Any]:
        return {"name": name, "data_type": "TYPE_FP32", "dims": dims, **more}

    return {
        "name": name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": MAX_BATCH,
        "input": [tensor(name, dims, optional=name == "noise") for name, dims in shapes.items()],
        "output": [tensor("action_chunk", chunk)],
        "parameters": {
            METADATA_KEY: {"string_value": json.dumps(documents.to_json(policy.contract))}
        },
    }


def model_metadata(name: str, version: str, policy: ChunkPolicy) -> dict[str, Any]:
    """Return the inputs, the output and the contract of a policy."""
    chunk = [policy.contract.chunk_length, policy.action_size]
    return {
        "name": name,
        "versions": [version],
        "platform": "onnx",
        "inputs": [
            {"name": "observation", "datatype": "FP32", "shape": [-1, policy.observation_size]},
            {"name": "noise", "datatype": "FP32", "shape": [-1, *policy.noise_shape]},
        ],
        "outputs": [{"name": "action_chunk", "datatype": "FP32", "shape": [-1, *chunk]}],
        "parameters": {"contract": documents.to_json(policy.contract)},
    }


@dataclass(frozen=True)
class Request:
    """A request for chunks.

    Attributes:
        observation: [B, O]. noise: [B, …], or None if the server draws it.
        id: returned with the response, None without one.
        binary: whether the client wants the output in binary form.
    """

    observation_BO: np.ndarray
    noise: np.ndarray | None
    id: str | None
    binary: bool


def read_request(policy: ChunkPolicy, body: bytes, header_length: str | None) -> Request:
    """Parse a request.

    Args:
        header_length: the HTTP header `BINARY_HEADER`, None without binary tensors.

    Raises:
        UsageError: not a request of the protocol.
    """
    length = len(body)
    if header_length is not None:
        if not _is_size(header_length) or int(header_length) > length:
            raise UsageError(
                f"{BINARY_HEADER} must be the size of the JSON, at most {length}, "
                f"got {header_length[:_CUT]!r}"
            )
        length = int(header_length)
    try:
        request = parse_json(body[:length])
    except ValueError as error:
        raise UsageError(
            f"the request is not JSON: {' '.join(str(error).split())[:200]}"
        ) from error
    tensors = _tensors(request, memoryview(body)[length:])
    if "observation" not in tensors or not tensors.keys() <= {"observation", "noise"}:
        got = [name[:_CUT] for name in sorted(tensors)[:5]]
        raise UsageError(f"the inputs must be observation and, optionally, noise, got {got}")
    observation_BO = tensors["observation"]
    if observation_BO.ndim != 2 or not 0 < len(observation_BO) <= MAX_BATCH:
        raise UsageError(
            f"observation must be [B, {policy.observation_size}] with B from 1 to {MAX_BATCH}, "
            f"got {list(observation_BO.shape)}"
        )
    identity = request.get("id")
    return Request(
        observation_BO=observation_BO,
        noise=tensors.get("noise"),
        id=identity if isinstance(identity, str) else None,
        binary=_wants_binary(request),
    )


def response(
    name: str, version: str, request: Request, chunk_BHA: np.ndarray
) -> tuple[bytes, int | None]:
    """Return the body of the response, and the size of its JSON if binary data follow it."""
    output: dict[str, Any] = {
        "name": "action_chunk",
        "datatype": "FP32",
        "shape": list(chunk_BHA.shape),
    }
    data = b""
    if request.binary:
        data = chunk_BHA.astype("<f4").tobytes()
        output["parameters"] = {"binary_data_size": len(data)}
    else:
        output["data"] = chunk_BHA.ravel().tolist()
    answer = {"model_name": name, "model_version": version, "outputs": [output]}
    if request.id is not None:
        answer["id"] = request.id
    header = json.dumps(answer).encode()
    return header + data, len(header) if request.binary else None


def _wants_binary(request: Any) -> bool:
    """Return whether the output is wanted in binary form (UsageError: an unknown output)."""
    outputs = request.get("outputs")
    if outputs is None:
        return _parameter(request, "binary_data_output") is True
    named = isinstance(outputs, list) and len(outputs) <= 1
    if not named or any(
        not isinstance(entry, dict) or entry.get("name") != "action_chunk" for entry in outputs
    ):
        raise UsageError("the only output is action_chunk")
    default = _parameter(request, "binary_data_output") is True
    wanted = _parameter(outputs[0], "binary_data") if outputs else None
    return default if wanted is None else wanted is True


def _parameter(part: Any, name: str) -> Any:
    parameters = part.get("parameters")
    return parameters.get(name) if isinstance(parameters, dict) else None


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 12


def _tensors(request: Any, binary: memoryview) -> dict[str, np.ndarray]:
    """Return the inputs by name as arrays (UsageError: they do not follow the protocol).

    Args:
        binary: the bytes of the binary tensors, in order.
    """
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
        size = _parameter(entry, "binary_data_size")
        try:
            if size is not None:
                if type(size) is not int or not 0 <= size <= len(binary) or data is not None:
                    raise ValueError
                array, binary = np.frombuffer(binary[:size], "<f4"), binary[size:]
            elif not _are_numbers(data):
                raise TypeError
            else:
                array = np.asarray(data, np.float32)
            tensors[name] = array.reshape(shape)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            wanted = str(shape[:9])[:_CUT]
            raise UsageError(f"{shown} does not hold numbers of shape {wanted}") from error
    if len(binary):
        raise UsageError(f"{len(binary)} bytes after the JSON belong to no input")
    return tensors


def _are_numbers(data: Any) -> bool:
    """Return whether a list holds only numbers or lists of them; NumPy also converts strings."""
    kinds = set(map(type, data))
    return all(map(_are_numbers, data)) if kinds == {list} else kinds <= {int, float}
