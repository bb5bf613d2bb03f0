"""A process of `benchmarks.gpu.trial`, which answers in lines of `name value`."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from typing import Any

from benchmarks.gpu.context import Context


class Worker(contextlib.AbstractContextManager["Worker"]):
    """A process of `benchmarks.gpu.trial`; the block's error, or its end, ends the process.

    Args:
        environment: variables in addition to those of this process.
        arguments: of `benchmarks.gpu.trial`.
    """

    def __init__(self, context: Context, environment: dict[str, str], *arguments: str) -> None:
        command = [sys.executable, "-m", "benchmarks.gpu.trial", *arguments]
        command += ["--work", str(context.work), *(["--tiny"] if context.tiny else [])]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    @staticmethod
    def now() -> float:
        """The clock that all processes share."""
        return time.time()

    def read(self, patience: float) -> tuple[str, str]:
        """The next line (RuntimeError: the process has ended, or does not answer in time)."""
        try:
            line = self._lines.get(timeout=patience)
        except queue.Empty:
            raise RuntimeError(f"a trial does not answer within {patience:.0f} s") from None
        if not line:
            raise RuntimeError(f"a trial ended with exit code {self._process.wait(10)}")
        name, _, value = line.strip().partition(" ")
        return name, value

    def write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(0 if kind else 10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")
