"""Where does an update's time go: time per kernel, launches, and how busy the device is."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable

from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu import product
from benchmarks.gpu.context import Context
from benchmarks.gpu.sizes import sizes
from benchmarks.gpu.timing import synchronize

_ROWS = 25
# Updates that are timed, and updates that are profiled: one launch of a graph.
_TIMED, _PROFILED = 128, 16


def run(context: Context) -> None:
    size = sizes(context.tiny)
    dataset = context.dataset()
    for network in size.networks:
        for method in ("qc-fql", "qc"):
            labels = {"method": method, "network": network, "kernels": product.BFLOAT16}
            settings = product.config(method, size.networks[network], size.batches[0])
            with context.attempt("profile", **labels):
                context.require(8)
                training = product.Training(settings, dataset, context.device, product.BFLOAT16)
                try:
                    _measure(context, training, labels)
                finally:
                    training.close()


def _measure(context: Context, training: product.Training, labels: dict[str, str]) -> None:
    timed, profiled = (2, 2) if context.tiny else (_TIMED, _PROFILED)
    training.run(profiled + 4)
    synchronize(context.device)
    start = time.perf_counter()
    training.run(timed)
    synchronize(context.device)
    # Without the profiler, which slows the host.
    seconds = (time.perf_counter() - start) / timed
    context.record("seconds per update", seconds, **labels)
    on_gpu = context.device.type == "cuda"
    with profile(
        activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]
    ) as profiler:
        training.run(profiled)
        synchronize(context.device)
    kind = "CUDA" if on_gpu else "CPU"
    kernels = [
        (event.name, event.time_range.start, event.time_range.end)
        for event in profiler.events() or ()
        if event.device_type.name == kind and event.time_range.end > event.time_range.start
    ]
    if not kernels:
        raise RuntimeError("the profiler reports no kernels")
    context.record("launches per update", len(kernels) / profiled, **labels)
    busy = busy_time((start, end) for _, start, end in kernels) / profiled
    # Kernels may run side by side.
    context.record("device utilisation", busy / 1e6 / seconds, **labels)
    times: defaultdict[str, float] = defaultdict(float)
    for name, start, end in kernels:
        times[name] += end - start
    counts = Counter(name for name, _, _ in kernels)
    table = [
        {
            "us": round(times[name] / profiled, 2),
            "launches": round(counts[name] / profiled, 2),
            "kernel": name[:120],
        }
        for name in sorted(times, key=lambda name: -times[name])[:_ROWS]
    ]
    context.record("kernels by time per update", table, **labels)


def busy_time(spans: Iterable[tuple[float, float]]) -> float:
    """The time during which at least one of the spans (start, end) runs."""
    total, reached = 0.0, -float("inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
