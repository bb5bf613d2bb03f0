"""Runs parts one after the other, each in a process group of its own with a time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from benchmarks.gpu.environment import ATTEMPTS_VARIABLE, REPOSITORY
from benchmarks.gpu.parts import LAST, Part
from benchmarks.gpu.results import Results

# Of one part; later output is dropped, so that the log stays small enough to be brought back.
_LOG_BYTES = 1_500_000
# A part plans for its limit; after these further seconds it is stopped.
_GRACE_SECONDS = 5
# Less is not worth a start.
_MINIMUM_SECONDS = 8
# For the summary.
_RESERVE_SECONDS = 15


class Runner:
    """Runs parts and records how each ended."""

    def __init__(
        self,
        output: Path,
        work: Path,
        environment: dict[str, str],
        results: Results,
        *,
        deadline: float,
        tiny: bool,
    ) -> None:
        self._output, self._work, self._environment = output, work, environment
        self._results, self._deadline, self._tiny = results, deadline, tiny
        (output / "logs.txt").unlink(missing_ok=True)

    def run(self, part: Part, *, scale: float) -> None:
        """Run one part within its limit and within what is left of the total.

        The last part gets all the remaining time.
        """
        left = self._deadline - time.monotonic() - _RESERVE_SECONDS
        limit = left if part.name == LAST else min(left, scale * part.seconds)
        if limit < _MINIMUM_SECONDS:
            self._results.set_part(part.name, status="skipped", reason="no time is left")
            print(f"{part.name}: skipped, no time is left", flush=True)
            return
        self._results.set_part(part.name, status="running", limit=round(limit, 1))
        start = time.monotonic()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.gpu.part", part.name),
                *("--output", str(self._output), "--work", str(self._work)),
                *("--until", f"{time.time() + limit:.1f}"),
                *(["--tiny"] if self._tiny else []),
            ],
            cwd=REPOSITORY,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        log = _Log(part.name, process.stdout, self._output / "logs.txt")
        try:
            code = process.wait(limit + _GRACE_SECONDS)
            status = "passed" if code == 0 else "failed"
        except subprocess.TimeoutExpired:
            code, status = None, "timed out"
        finally:
            _end_group(process)
            log.finish()
        seconds = time.monotonic() - start
        attempts = Path(self._environment[ATTEMPTS_VARIABLE])
        self._results.set_part(
            part.name,
            status=status,
            seconds=round(seconds, 1),
            **({} if status == "passed" else {"exit-code": code, "last-line": log.last_line}),
            log="logs.txt",
        )
        self._results.set_head(**{"network-attempts": _lines(attempts)})
        note = "" if status == "passed" else f": {log.last_line}"
        print(f"{part.name}: {status} after {seconds:.0f} s{note}", flush=True)


def run_summary(output: Path, environment: dict[str, str]) -> None:
    """Write `summary.md` and print it."""
    command = [sys.executable, "-m", "benchmarks.gpu.summary", str(output)]
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=False)


class _Log(threading.Thread):
    """Copies a part's output to the end of a file, up to a limit."""

    def __init__(self, name: str, stream: IO[bytes], path: Path) -> None:
        super().__init__(daemon=True)
        self._name, self._stream, self._path = name, stream, path
        self.last_line = ""
        self.start()

    def run(self) -> None:
        written = 0
        with self._path.open("ab") as file:
            file.write(f"===== {self._name} =====\n".encode())
            for line in self._stream:
                if text := line.decode(errors="replace").strip():
                    self.last_line = text[-300:]
                if written < _LOG_BYTES:
                    file.write(line[:2000])
                    file.flush()
                    written += len(line)

    def finish(self) -> None:
        self.join(_GRACE_SECONDS)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and everything that it started, and wait until all of it is gone.

    Memory on the GPU is free only then.
    """
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sign)
        end = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < end:
            if process.poll() is not None and not _is_running(process.pid):
                return
            time.sleep(0.05)


def _is_running(group: int) -> bool:
    """Whether a process of this group runs. Zombies have ended, although they are listed."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in parentheses may contain spaces.
            state, _, its_group, *_ = stat.read_text().rpartition(")")[2].split()
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()[:100] if path.exists() else []
