"""Replay on the device or on the host, and several trials on one GPU with and without MPS.

This process itself does not use the GPU, so that nothing of it shares the GPU with the trials.
"""

from __future__ import annotations

import contextlib
import shutil

from benchmarks.gpu.context import Context
from benchmarks.gpu.mps import CONTROL, mps
from benchmarks.gpu.sizes import sizes
from benchmarks.gpu.worker import Worker

_METHODS = ("qc-fql", "qc")
# Each number of trials runs for so long.
_PHASE_SECONDS = 2.5
# Until all trials are ready: imports, CUDA contexts, graphs.
_START_SECONDS = 20.0
# A process that answers later than this hangs.
_PATIENCE_SECONDS = 45.0


def run(context: Context) -> None:
    context.dataset()
    with context.attempt("replay"):
        context.require(_START_SECONDS)
        _replay(context)
    needed = _START_SECONDS + len(sizes(context.tiny).trials) * _PHASE_SECONDS
    with context.attempt("trials", mps="off"):
        context.require(needed)
        _trials(context, "off", {})
    with context.attempt("trials", mps="on"):
        if shutil.which(CONTROL) is None:
            context.record("trials", f"not measured: no {CONTROL} here", mps="on")
            return
        context.require(needed)
        with mps() as environment:
            _trials(context, "on", environment)


def _replay(context: Context) -> None:
    network = next(iter(sizes(context.tiny).networks))
    with Worker(context, {}, "replay", *_METHODS) as worker:
        for method in _METHODS:
            for _ in range(2):
                replay, rate = worker.read(_PATIENCE_SECONDS)
                context.record(
                    "updates/s", float(rate), replay=replay, method=method, network=network
                )


def _trials(context: Context, state: str, environment: dict[str, str]) -> None:
    """The total rate of 1, 2, 4 and 8 trials; those that wait hold memory only."""
    counts = sizes(context.tiny).trials
    seconds = 0.2 if context.tiny else _PHASE_SECONDS
    with contextlib.ExitStack() as opened:
        workers = [
            opened.enter_context(Worker(context, environment, "trial", "qc-fql"))
            for _ in range(counts[-1])
        ]
        for worker in workers:
            worker.read(_PATIENCE_SECONDS)
        workers[0].write("memory")
        used = float(workers[0].read(_PATIENCE_SECONDS)[1])
        context.record("memory per process GB", used / len(workers) / 1e9, mps=state)
        for count in counts:
            rates = _together(workers[:count], seconds)
            context.record("total updates/s", sum(rates), trials=count, mps=state)
            context.record("updates/s of the slowest", min(rates), trials=count, mps=state)


def _together(workers: list[Worker], seconds: float) -> list[float]:
    """The rate of each of several trials that begin and end together."""
    start = Worker.now() + 0.1
    for worker in workers:
        worker.write(f"{start} {start + seconds}")
    return [float(worker.read(seconds + _PATIENCE_SECONDS)[1]) for worker in workers]
