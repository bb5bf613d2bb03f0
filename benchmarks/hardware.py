"""Describes the machine and the versions that a benchmark ran with."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from qc_core.provenance import git_commit, versions


def hardware() -> dict[str, Any]:
    """Return processor, cores, memory, GPUs, versions and commit, for the result of a benchmark."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].split(":")[1].strip() if names else processor
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "memory-gib": round(pages / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "python": platform.python_version(),
        "versions": versions(),
        "git-commit": git_commit(),
    }
