"""The device for training, and the threads that torch uses on a CPU."""

from __future__ import annotations

import os

import torch

from qc_core.cores import cpu_quota, cpu_share
from qc_core.errors import RunError, UsageError

# What torch raises when a device fails; these are RuntimeErrors.
DEVICE_FAULTS = (torch.OutOfMemoryError, torch.AcceleratorError)


def training_device() -> torch.device:
    """Return `QC_DEVICE` if set, else CUDA if available, else the CPU (UsageError: unusable)."""
    name = os.environ.get("QC_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # Fails for a device without memory, such as "meta".
        torch.zeros(1, device=device).item()
        if device.index is not None and device.type == "cuda":
            # The default device of streams and CUDA graphs.
            torch.cuda.set_device(device)
        if device.type == "cuda":
            # Sum bfloat16 products in float32, as on a CPU.
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"QC_DEVICE={name[:100]} cannot be used here: {reason} (it may be cpu, cuda or cuda:N)"
        ) from error
    return device


def set_generator(generator: torch.Generator, state: torch.Tensor) -> None:
    """Set a generator to a saved state (UsageError: it is from another kind of device)."""
    if state.shape != generator.get_state().shape:
        raise UsageError(
            f"training was interrupted on another kind of device than {generator.device.type}: "
            "set QC_DEVICE to that kind to resume"
        )
    generator.set_state(state.cpu())


def take_threads(threads: int) -> None:
    """Limit this process, and the processes that it starts, to `threads` cores."""
    os.environ["QC_THREADS"] = str(threads)
    torch.set_num_threads(threads)


def share_cpu() -> None:
    """Limit torch to this process's share of the cores (UsageError: `QC_THREADS` is invalid)."""
    if os.environ.get("QC_THREADS") or cpu_quota() < len(os.sched_getaffinity(0)):
        torch.set_num_threads(cpu_share())


def require_gpus(count: str) -> None:
    """Refuse to train on the CPU if GPUs were requested.

    Args:
        count: requested GPUs, a string in KFP's form.

    Raises:
        UsageError: not a number.
        RunError: torch finds fewer GPUs.
    """
    if not count.isdecimal():
        raise UsageError(f"gpus must be a number, 0 for none, got {count!r}")
    found = torch.cuda.device_count()
    if int(count) > found:
        raise RunError(
            f"{count} GPUs were requested, torch finds {found}: check the node's driver and that "
            "--gpu-type of the pipeline is the resource of its device plugin"
        )
