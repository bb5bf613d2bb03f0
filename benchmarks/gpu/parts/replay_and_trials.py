"""Replay on the device or on the host, and several trials on one GPU with and without MPS.

This process itself does not use the GPU, so that nothing of it shares the GPU with the trials.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.context import Context
from benchmarks.gpu.sizes import sizes

_PHASE_SECONDS = 4.0
_START_SECONDS = 25.0
_CONTROL = "nvidia-cuda-mps-control"


def run(context: Context) -> None:
    for method in ("qc-fql", "qc"):
        with context.attempt("replay", method=method):
            context.require(_START_SECONDS)
            _replay(context, method)
    with context.attempt("trials", mps="off"):
        context.require(_START_SECONDS + len(sizes(context.tiny).trials) * _PHASE_SECONDS)
        _trials(context, "off", {})
    with context.attempt("trials", mps="on"):
        if shutil.which(_CONTROL) is None:
            context.record("trials", f"not measured: no {_CONTROL} here", mps="on")
            return
        context.require(_START_SECONDS + len(sizes(context.tiny).trials) * _PHASE_SECONDS)
        with _mps(context.work / "mps") as environment:
            _trials(context, "on", environment)


def _replay(context: Context, method: str) -> None:
    worker = _Worker(context, {}, "replay", method)
    labels = {"method": method, "network": next(iter(sizes(context.tiny).networks))}
    for _ in range(2):
        replay, rate = worker.read()
        context.record("updates/s", float(rate), replay=replay, **labels)
    worker.finish()


def _trials(context: Context, mps: str, environment: dict[str, str]) -> None:
    """The total rate of 1, 2, 4 and 8 trials; those that wait hold memory only."""
    counts = sizes(context.tiny).trials
    seconds = 0.2 if context.tiny else _PHASE_SECONDS
    with contextlib.ExitStack() as opened:
        workers = [
            opened.enter_context(_Worker(context, environment, "trial", "qc-fql"))
            for _ in range(counts[-1])
        ]
        for worker in workers:
            worker.read()
        workers[0].write("memory")
        used = float(workers[0].read()[1])
        context.record("memory per process GB", used / len(workers) / 1e9, mps=mps)
        for count in counts:
            # They begin and end together.
            start = time.time() + 0.1
            for worker in workers[:count]:
                worker.write(f"{start} {start + seconds}")
            rates = [float(worker.read()[1]) for worker in workers[:count]]
            context.record("total updates/s", sum(rates), trials=count, mps=mps)
            context.record("updates/s of the slowest", min(rates), trials=count, mps=mps)


class _Worker(contextlib.AbstractContextManager["_Worker"]):
    """A process of `benchmarks.gpu.trial`, which answers in lines of `name value`."""

    def __init__(
        self, context: Context, environment: dict[str, str], what: str, method: str
    ) -> None:
        command = [sys.executable, "-m", "benchmarks.gpu.trial", what, method]
        command += ["--work", str(context.work), *(["--tiny"] if context.tiny else [])]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self) -> tuple[str, str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a trial ended with exit code {self._process.wait(10)}")
        name, _, value = line.strip().partition(" ")
        return name, value

    def write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def finish(self) -> None:
        """Let the process end."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __exit__(self, *_: Any) -> None:
        self.finish()


@contextlib.contextmanager
def _mps(folder: Path) -> Iterator[dict[str, str]]:
    """Run NVIDIA's Multi-Process Service; no other setting of the GPU changes."""
    pipes, logs = folder / "pipes", folder / "logs"
    for path in (pipes, logs):
        path.mkdir(parents=True, exist_ok=True)
    environment = {
        "CUDA_MPS_PIPE_DIRECTORY": str(pipes),
        "CUDA_MPS_LOG_DIRECTORY": str(logs),
    }
    everything = {**os.environ, **environment}
    subprocess.run([_CONTROL, "-d"], env=everything, check=True, timeout=20)
    try:
        yield environment
    finally:
        subprocess.run(
            [_CONTROL], env=everything, input="quit\n", text=True, check=False, timeout=20
        )
