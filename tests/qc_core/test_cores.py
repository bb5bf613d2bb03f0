"""This process's share of the CPU cores is that of its container, or what a person gives it."""

from pathlib import Path

import pytest

from qc_core.cores import cpu_quota, cpu_share
from qc_core.errors import UsageError


@pytest.mark.parametrize(
    ("content", "cores"), [("150000 100000", 1), ("400000 100000", 4), ("max 100000", 1 << 20)]
)
def test_the_quota_of_a_container_counts_as_cores(tmp_path: Path, content: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(content + "\n")
    assert cpu_quota(tmp_path) == cores
    assert cpu_quota(tmp_path / "missing") == 1 << 20


@pytest.mark.parametrize(("quota", "cores"), [("150000", 1), ("400000", 4), ("-1", 1 << 20)])
def test_the_quota_of_older_control_groups_counts_too(
    tmp_path: Path, quota: str, cores: int
) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_quota(tmp_path) == cores


@pytest.mark.parametrize("threads", ["0", "-1", "two", "4097", "9" * 23, "9" * 5000])
def test_an_invalid_number_of_threads_is_refused(
    threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QC_THREADS", threads)
    with pytest.raises(
        UsageError, match="QC_THREADS must be a number of CPU threads from 1 to 4096"
    ):
        cpu_share()
