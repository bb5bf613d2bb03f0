"""This process's share of the CPU cores."""

from __future__ import annotations

import os
from pathlib import Path

from qc_core.errors import UsageError

_UNLIMITED = 1 << 20
# More than any machine has; torch accepts 31 bits.
_MAX_THREADS = 4096


def cpu_share() -> int:
    """Return the number of cores for this process (UsageError: `QC_THREADS` is invalid).

    That is `QC_THREADS` if it is set, else all cores that the process may use. A container may
    use all cores of its node for a quota of time, which counts as that many cores.
    """
    threads = os.environ.get("QC_THREADS")
    if not threads:
        return max(1, min(len(os.sched_getaffinity(0)), cpu_quota()))
    # Python raises ValueError for thousands of digits.
    count = int(threads) if threads.isdecimal() and len(threads) < 10 else 0
    if not 1 <= count <= _MAX_THREADS:
        raise UsageError(
            f"QC_THREADS must be a number of CPU threads from 1 to {_MAX_THREADS}, "
            f"got {threads[:100]!r}"
        )
    return count


def cpu_quota(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the cores in this container's time quota; a large number without a quota.

    Args:
        cgroup: where the control groups are mounted, of version 2 or 1.
    """
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        # Without a quota, it is "max" in version 2, and -1 in version 1.
        cores = int(quota) // int(period)
    except (OSError, ValueError):
        return _UNLIMITED
    return cores if cores >= 0 else _UNLIMITED


def threads_per_worker(workers: int) -> int:
    """Return the CPU threads for each of `workers` processes that share this process's cores."""
    return max(1, cpu_share() // workers)
