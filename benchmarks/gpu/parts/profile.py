"""Where does an update's time go: time per kernel, launches, and how busy the device is."""

from __future__ import annotations

import time

from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu import product
from benchmarks.gpu.context import Context
from benchmarks.gpu.sizes import sizes
from benchmarks.gpu.timing import synchronize

_ROWS = 25
_UPDATES = 32


def run(context: Context) -> None:
    size = sizes(context.tiny)
    dataset = product.random_dataset(context.work / "dataset", size.transitions)
    for network in size.networks:
        for method in ("qc", "qc-fql"):
            labels = {"method": method, "network": network, "kernels": product.BFLOAT16}
            with context.attempt("profile", **labels):
                context.require(8)
                settings = product.config(method, size.networks[network], size.batches[0])
                training = product.Training(settings, dataset, context.device, product.BFLOAT16)
                _measure(context, training, labels)
                training.close()


def _measure(context: Context, training: product.Training, labels: dict[str, str]) -> None:
    updates = 2 if context.tiny else _UPDATES
    training.run(updates + 4)
    synchronize(context.device)
    start = time.perf_counter()
    training.run(updates)
    synchronize(context.device)
    # Without the profiler, which slows the host.
    seconds = (time.perf_counter() - start) / updates
    on_gpu = context.device.type == "cuda"
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiler:
        training.run(updates)
        synchronize(context.device)
    entries = [
        (
            (entry.self_device_time_total if on_gpu else entry.self_cpu_time_total) / updates,
            entry.count / updates,
            entry.key,
        )
        for entry in profiler.key_averages()
    ]
    kernels = sorted((entry for entry in entries if entry[0] > 0), reverse=True)
    if not kernels:
        raise RuntimeError("the profiler reports no kernels")
    busy = sum(microseconds for microseconds, _, _ in kernels) / 1e6
    context.record("seconds per update", seconds, **labels)
    context.record("launches per update", sum(count for _, count, _ in kernels), **labels)
    context.record("device utilisation", busy / seconds, **labels)
    table = [
        {"us": round(us, 2), "launches": round(count, 2), "kernel": name[:120]}
        for us, count, name in kernels[:_ROWS]
    ]
    context.record("kernels by time per update", table, **labels)
