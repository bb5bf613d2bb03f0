"""What a device's matrix products can do: the ceiling that every other number stands under."""

from __future__ import annotations

import time

import torch
from torch.nn import functional

_SECONDS = 0.5


def product_rate(rows: int, width: int, dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of [rows, width] times [width, width], the best of the runs in half a second."""
    x = torch.randn(rows, width, device=device, dtype=dtype)
    weight = torch.randn(width, width, device=device, dtype=dtype)
    # So many that the clock and the launch do not count.
    repeats = max(1, round(2**31 / (rows * width * width)))
    best = float("inf")
    with torch.inference_mode():
        functional.linear(x, weight)
        begin = time.perf_counter()
        while time.perf_counter() - begin < _SECONDS:
            synchronize(device)
            start = time.perf_counter()
            for _ in range(repeats):
                functional.linear(x, weight)
            synchronize(device)
            best = min(best, time.perf_counter() - start)
    return 2 * rows * width * width * repeats / best


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
