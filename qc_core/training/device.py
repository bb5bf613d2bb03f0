"""Where tensors live and how many threads work on them."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from qc_core.errors import RunError, UsageError

_UNLIMITED = 1 << 20
# More than any machine has; torch takes no number beyond 31 bits.
_MOST_THREADS = 4096
# What torch raises where a device fails and the work is not at fault; they are RuntimeErrors.
DEVICE_FAULTS = (torch.OutOfMemoryError, torch.AcceleratorError)


def training_device() -> torch.device:
    """`QC_DEVICE` if set, else CUDA where there is one, else the CPU (UsageError if unusable)."""
    name = os.environ.get("QC_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # What has no memory, as "meta", has nothing to give back.
        torch.zeros(1, device=device).item()
        if device.index is not None and device.type == "cuda":
            # What names no device, streams and recordings among them, means this one.
            torch.cuda.set_device(device)
        if device.type == "cuda":
            # Sums of bfloat16 products are float32 to their end, as on a CPU.
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"QC_DEVICE={name[:100]} cannot be used here: {reason} (it may be cpu, cuda or cuda:N)"
        ) from error
    return device


def set_generator(generator: torch.Generator, state: torch.Tensor) -> None:
    """Go on drawing where `state` was taken (UsageError: on another kind of device)."""
    if state.shape != generator.get_state().shape:
        raise UsageError(
            f"training was broken off on another kind of device than {generator.device.type}: "
            "set QC_DEVICE to that one to go on"
        )
    generator.set_state(state.cpu())


def cpu_share() -> int:
    """Cores for this process: `QC_THREADS`, else all that it may use (UsageError).

    A container's share is a quota of time on all cores of its node.
    """
    threads = os.environ.get("QC_THREADS")
    if not threads:
        return max(1, min(len(os.sched_getaffinity(0)), _quota()))
    # Python refuses to read thousands of digits.
    count = int(threads) if threads.isdecimal() and len(threads) < 10 else 0
    if not 1 <= count <= _MOST_THREADS:
        raise UsageError(
            f"QC_THREADS must be a number of CPU threads from 1 to {_MOST_THREADS}, "
            f"got {threads[:100]!r}"
        )
    return count


def _quota(path: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Whole cores of time that this container has; many where nothing limits it."""
    try:
        quota, period = path.read_text().split()
        return int(quota) // int(period)
    except (OSError, ValueError):
        # No control groups of version 2, or "max".
        return _UNLIMITED


def threads_per_worker(workers: int) -> int:
    """CPU threads for each of that many processes, of this process's share."""
    return max(1, cpu_share() // workers)


def take_threads(threads: int) -> None:
    """Give this process, and what it starts, so many of the cores."""
    os.environ["QC_THREADS"] = str(threads)
    torch.set_num_threads(threads)


def share_cpu() -> None:
    """Take only this process's share of the cores, where there is less than all (UsageError)."""
    if os.environ.get("QC_THREADS") or _quota() < len(os.sched_getaffinity(0)):
        torch.set_num_threads(cpu_share())


def require_gpus(count: str) -> None:
    """Refuse to learn on the CPU where GPUs were asked for.

    Args:
        count: as KFP's form has it, a string.

    Raises:
        UsageError: not a number.
        RunError: torch sees fewer.
    """
    if not count.isdecimal():
        raise UsageError(f"gpus must be a number, 0 for none, got {count!r}")
    seen = torch.cuda.device_count()
    if int(count) > seen:
        raise RunError(
            f"{count} GPUs were asked for, torch sees {seen}: check the node's driver and that "
            "gpu_type is what its device plugin offers"
        )
