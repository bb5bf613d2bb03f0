"""The device for training and this process's share of the CPU cores are checked."""

from pathlib import Path

import pytest

from qc_core.errors import RunError, UsageError
from qc_core.training import device


@pytest.mark.parametrize(
    ("content", "cores"), [("150000 100000", 1), ("400000 100000", 4), ("max 100000", 1 << 20)]
)
def test_the_quota_of_a_container_counts_as_cores(tmp_path: Path, content: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(content + "\n")
    assert device._quota(tmp_path / "cpu.max") == cores
    assert device._quota(tmp_path / "missing") == 1 << 20


def test_requested_gpus_that_are_missing_are_refused() -> None:
    device.require_gpus("0")
    with pytest.raises(UsageError, match="must be a number"):
        device.require_gpus("many")
    with pytest.raises(RunError, match="100 GPUs were requested, torch finds"):
        device.require_gpus("100")


@pytest.mark.parametrize("threads", ["0", "-1", "two", "4097", "9" * 23, "9" * 5000])
def test_an_invalid_number_of_threads_is_refused(
    threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QC_THREADS", threads)
    with pytest.raises(
        UsageError, match="QC_THREADS must be a number of CPU threads from 1 to 4096"
    ):
        device.share_cpu()


@pytest.mark.parametrize("name", ["meta", "warp"])
def test_a_device_without_memory_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QC_DEVICE", name)
    with pytest.raises(UsageError, match=f"QC_DEVICE={name} .*may be cpu, cuda or cuda:N"):
        device.training_device()
