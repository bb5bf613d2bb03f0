"""How long does an exported policy take to answer, with onnxruntime on the GPU and on the CPU?"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.gpu import product
from benchmarks.gpu.context import Context
from benchmarks.gpu.sizes import sizes

# Both policies of the paper's proposal first.
_METHODS = ("qc-fql", "qc", *(m for m in product.METHODS if m not in ("qc", "qc-fql")))
_ROW_SECONDS, _MAXIMUM_CALLS, _MINIMUM_CALLS = 0.4, 1000, 10
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
    providers = [("cpu", 1)]
    if (cores := min(8, len(os.sched_getaffinity(0)))) > 1:
        providers.append(("cpu", cores))
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("cuda", 1))
    else:
        context.record("p50 ms", "not measured: onnxruntime has no CUDA provider", provider="cuda")
    for method, policy in policies.items():
        if policy.exception() is not None:
            continue
        for batch in size.policy_batches:
            for provider, threads in providers:
                labels = {
                    "method": method,
                    "network": network,
                    "batch": batch,
                    "provider": provider,
                    "threads": threads,
                }
                with context.attempt("p50 ms", **labels):
                    context.require(2)
                    call = product.policy_call(policy.result(), provider, threads, batch)
                    seconds = _latencies(call, 0.05 if context.tiny else _ROW_SECONDS)
                    for share in (50, 99):
                        value = float(np.percentile(seconds, share)) * 1e3
                        context.record(f"p{share} ms", value, **labels)


def _exported(method: str, hidden_dims: tuple[int, ...], folder: Path) -> Path:
    """The policy folder of a method, exported unless an earlier run has done so."""
    policy = folder / "policy"
    return policy if policy.exists() else product.export_random_policy(method, hidden_dims, folder)


def _latencies(call: Callable[[], object], seconds: float) -> list[float]:
    for _ in range(3):
        call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _MINIMUM_CALLS or (
        time.perf_counter() < end and len(times) < _MAXIMUM_CALLS
    ):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times
