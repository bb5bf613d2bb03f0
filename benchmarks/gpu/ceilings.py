"""What the device allows: copy bandwidth, matrix products, kernel launches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.timing import synchronize

_REPEATS = 10
# Rows and width of the products that updates have, and the name of one that fills the device.
SHAPES, WIDTH, LARGE = (256, 8192), 512, "large"


def _seconds(work: Callable[[], object], device: torch.device, repeats: int = _REPEATS) -> float:
    for _ in range(3):
        work()
    synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronize(device)
    return (time.perf_counter() - start) / repeats


def copy_bandwidth(device: torch.device, *, tiny: bool) -> float:
    """Bytes per second of a copy within the device, read plus written."""
    count = 1 << (20 if tiny else 30)
    source = torch.randn(count, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _seconds(lambda: target.copy_(source), device)


def product_rate(
    device: torch.device, dtype: torch.dtype, rows: int, width: int, *, inner: int = 0
) -> float:
    """FLOP/s of random matrix products [rows, inner] x [inner, width]."""
    inner = inner or width
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(inner, width, device=device).to(dtype)
    out = torch.empty(rows, width, device=device, dtype=dtype)
    seconds = _seconds(lambda: torch.mm(left, right, out=out), device)
    return 2 * rows * inner * width / seconds


def launch_seconds(device: torch.device, *, graph: bool) -> float:
    """Seconds per kernel when a thousand small ones depend on each other."""
    count = 1000
    value = torch.zeros(256, device=device)

    def chain() -> Tensor:
        for _ in range(count):
            value.add_(1)
        return value

    if not graph:
        return _seconds(chain, device, 5) / count
    chain()
    synchronize(device)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        chain()
    return _seconds(recorded.replay, device, 5) / count


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Measured rates of a device: bytes/s, FLOP/s by precision, seconds per launch in a graph."""

    bandwidth: float
    product_rates: dict[str, float]
    launch: float

    def updates_per_second(self, counts: dict[str, float], precision: str) -> float:
        """No update is faster: launches, bytes and products each take their time at least."""
        return 1 / max(
            counts["launches in sequence"] * self.launch,
            counts["bytes"] / self.bandwidth,
            counts["flop"] / self.product_rates[precision],
        )


def measure(device: torch.device, record: Callable[..., Any], *, tiny: bool) -> Ceilings:
    """Measure and record every ceiling."""
    width = 64 if tiny else 8192
    bandwidth = copy_bandwidth(device, tiny=tiny)
    record("copy bandwidth TB/s", bandwidth / 1e12)
    rates = {}
    for dtype, name in ((torch.bfloat16, "bfloat16"), (torch.float32, "float32")):
        rates[name] = product_rate(device, dtype, width, width)
        record("product rate TFLOP/s", rates[name] / 1e12, shape=LARGE, kernels=name)
        columns = 16 if tiny else WIDTH
        for rows in (16,) if tiny else SHAPES:
            rate = product_rate(device, dtype, rows, columns) / 1e12
            shape = f"{rows}x{columns}x{columns}"
            record("product rate TFLOP/s", rate, shape=shape, kernels=name)
    launch = launch_seconds(device, graph=False)
    record("launch us", launch * 1e6, how="eager")
    if device.type == "cuda":
        launch = launch_seconds(device, graph=True)
        record("launch us", launch * 1e6, how="CUDA graph")
    return Ceilings(bandwidth, rates, launch)
