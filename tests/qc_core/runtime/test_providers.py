"""The execution provider is chosen by name or by availability."""

from pathlib import Path

import pytest

from qc_core.errors import UsageError
from qc_core.runtime import ChunkPolicy
from qc_core.runtime.providers import choose_providers

CPU = ["AzureExecutionProvider", "CPUExecutionProvider"]
GPU = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("wanted", "available", "chosen"),
    [
        (None, CPU, ["cpu"]),
        (None, GPU, ["cuda", "cpu"]),
        ("cpu", GPU, ["cpu"]),
        ("cuda", GPU, ["cuda", "cpu"]),
        ("tensorrt", GPU, ["tensorrt", "cuda", "cpu"]),
    ],
)
def test_the_requested_provider_comes_first(
    wanted: str | None, available: list[str], chosen: list[str]
) -> None:
    assert choose_providers(wanted, available) == chosen


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("cuda", "provider 'cuda' is not in this onnxruntime, which has cpu"),
        ("tensorrt", "provider 'tensorrt' is not in this onnxruntime, which has cpu"),
        ("gpu", "must be one of tensorrt, cuda, cpu, got 'gpu'"),
    ],
)
def test_an_unavailable_provider_is_refused(wanted: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose_providers(wanted, CPU)


def test_a_policy_reports_its_provider(policy: Path) -> None:
    assert ChunkPolicy.load(policy, provider="cpu").provider == "cpu"
    with pytest.raises(UsageError, match="must be one of"):
        ChunkPolicy.load(policy, provider="tpu")
