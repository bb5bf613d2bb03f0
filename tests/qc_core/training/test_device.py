"""The device for training is checked."""

import pytest

from qc_core.errors import RunError, UsageError
from qc_core.training import device


def test_requested_gpus_that_are_missing_are_refused() -> None:
    device.require_gpus("0")
    with pytest.raises(UsageError, match="must be a number"):
        device.require_gpus("many")
    with pytest.raises(RunError, match="100 GPUs were requested, torch finds"):
        device.require_gpus("100")


@pytest.mark.parametrize("name", ["meta", "warp"])
def test_a_device_without_memory_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QC_DEVICE", name)
    with pytest.raises(UsageError, match=f"QC_DEVICE={name} .*may be cpu, cuda or cuda:N"):
        device.training_device()
