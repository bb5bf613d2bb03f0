"""Interleaved timing: alternatives take turns in one process, and medians are compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

# Runs at least the given number of updates and returns once they are queued.
Work = Callable[[int], object]


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved_rates(
    work: Mapping[str, Work],
    device: torch.device,
    *,
    turns: int,
    seconds: float,
    block: int = 16,
) -> dict[str, float]:
    """Updates per second of each alternative, the median of its turns.

    Warm-up runs before the first turn: it records graphs and compiles.

    Args:
        seconds: of each turn.
        block: updates between two looks at the clock.
    """
    counts = {}
    for name, act in work.items():
        act(block + 4)
        synchronize(device)
        counts[name] = max(1, round(seconds * _rate(act, block, device) / block)) * block
    rates: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(turns):
        for name, act in work.items():
            rates[name].append(_rate(act, counts[name], device))
    return {name: statistics.median(found) for name, found in rates.items()}


def _rate(act: Work, count: int, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    act(count)
    synchronize(device)
    return count / (time.perf_counter() - start)
