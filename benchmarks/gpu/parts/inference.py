"""How long does an exported policy take to answer, with onnxruntime on the GPU and on the CPU?"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.gpu import product
from benchmarks.gpu.context import Context
from benchmarks.gpu.sizes import Sizes, sizes

# Both policies of the paper's proposal first.
_METHODS = ("qc-fql", "qc", *(m for m in product.METHODS if m not in ("qc", "qc-fql")))
_ROW_SECONDS, _MAXIMUM_CALLS, _MINIMUM_CALLS = 0.2, 1000, 3
# Fewer calls say little about the slowest of a hundred.
_ENOUGH_CALLS = 100
# Opening a policy and a few calls.
_LOAD_SECONDS = 1.0
_EXPORT_PROCESSES = 9


def run(context: Context) -> None:
    size = sizes(context.tiny)
    context.record("onnxruntime providers", onnxruntime.get_available_providers())
    network, hidden_dims = next(iter(size.networks.items()))
    folder = context.work / "policies" / network
    methods = _METHODS[:2] if context.tiny else _METHODS
    processes = min(_EXPORT_PROCESSES, len(os.sched_getaffinity(0)), len(methods))
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        policies = {
            method: pool.submit(_exported, method, hidden_dims, folder / method)
            for method in methods
        }
        # Latencies are measured when no export keeps the processor busy.
        for method, policy in policies.items():
            with context.attempt("export", method=method):
                policy.result()
    cores = min(8, len(os.sched_getaffinity(0)))
    found = _providers(cores)
    if ("cuda", 1) not in found:
        context.record("p50 ms", "not measured: onnxruntime has no CUDA provider", provider="cuda")
    exported = {m: policy.result() for m, policy in policies.items() if not policy.exception()}
    # Seconds per call and batch size of the row before, by what else is the same.
    before: dict[tuple[object, ...], tuple[float, int]] = {}
    for batch, method, provider, threads in rows(size, [*exported], found):
        labels = {
            "method": method,
            "network": network,
            "batch": batch,
            "provider": provider,
            "threads": threads,
        }
        with context.attempt("p50 ms", **labels):
            same = (method, provider, threads)
            seconds, smaller = before.get(same, (0.0, batch))
            # A larger batch takes at most proportionally longer.
            expected = (1 + _MINIMUM_CALLS) * seconds * batch / smaller
            context.require(_LOAD_SECONDS + expected)
            call = product.policy_call(exported[method], provider, threads, batch)
            times = _latencies(call, 0.05 if context.tiny else _ROW_SECONDS)
            before[same] = float(np.median(times)), batch
            for share in (50, 99):
                context.record(f"p{share} ms", float(np.percentile(times, share)) * 1e3, **labels)
            if len(times) < _ENOUGH_CALLS:
                context.record("calls", len(times), **labels)


def _providers(cores: int) -> list[tuple[str, int]]:
    """Execution providers with their numbers of CPU threads."""
    found = [("cpu", threads) for threads in sorted({1, cores})]
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        found.insert(0, ("cuda", 1))
    return found


def rows(
    size: Sizes, methods: Sequence[str], providers: Sequence[tuple[str, int]]
) -> Iterator[tuple[int, str, str, int]]:
    """Batch size, method, provider and threads of each row, small batches first.

    The largest batches of best-of-N methods take seconds per call on a CPU.
    """
    for batch in size.policy_batches:
        for method in methods:
            for provider, threads in providers:
                yield batch, method, provider, threads


def _exported(method: str, hidden_dims: tuple[int, ...], folder: Path) -> Path:
    """The policy folder of a method, exported unless an earlier run has done so."""
    policy = folder / "policy"
    if policy.exists():
        return policy
    shutil.rmtree(folder, ignore_errors=True)
    try:
        return product.export_random_policy(method, hidden_dims, folder)
    except Exception as error:
        # Some of torch's exceptions cannot be sent between processes: all exports would be lost.
        raise RuntimeError(f"{type(error).__name__}: {error}") from None


def _latencies(call: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each call, after calls that warm up."""
    end = time.perf_counter() + seconds / 2
    for _ in range(3):
        call()
        if time.perf_counter() > end:
            break
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _MINIMUM_CALLS or (
        time.perf_counter() < end and len(times) < _MAXIMUM_CALLS
    ):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times
