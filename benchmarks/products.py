"""Measures how fast a device multiplies matrices, which limits the speed of every update."""

from __future__ import annotations

import time

import torch

# Short repeats, so that other processes do not disturb all of them.
_SECONDS, _REPEATS = 0.002, 200


def product_rate(rows: int, width: int, dtype: torch.dtype, device: torch.device) -> float:
    """Return the highest FLOP/s of products [rows, width] × [width, width] in many repeats."""
    left = torch.randn(rows, width, device=device).to(dtype)
    right = torch.randn(width, width, device=device).to(dtype)
    out = torch.empty_like(left)

    def seconds(products: int) -> float:
        start = time.perf_counter()
        for _ in range(products):
            torch.mm(left, right, out=out)
        synchronize(device)
        return time.perf_counter() - start

    # The first product also initialises the library.
    seconds(1)
    products = 1
    while seconds(products) < _SECONDS:
        products *= 2
    best = min(seconds(products) for _ in range(_REPEATS))
    return products * 2 * rows * width**2 / best


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
