"""NVIDIA's Multi-Process Service, which lets processes share a GPU at the same time."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"


@contextlib.contextmanager
def mps(patience: float = 15) -> Iterator[dict[str, str]]:
    """Run the service; yields the variables of the processes that use it.

    No setting of the GPU changes, and processes without these variables do not use the service.

    Args:
        patience: seconds to wait for its start and for its end.

    Raises:
        RuntimeError: it does not start.
    """
    # The path of a socket has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="qc-mps-"))
    environment = {
        "CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipes"),
        "CUDA_MPS_LOG_DIRECTORY": str(folder / "logs"),
    }
    for path in environment.values():
        Path(path).mkdir()
    try:
        _start(environment, patience)
        yield environment
    finally:
        _stop(folder, environment, patience)
        for log in sorted((folder / "logs").glob("*.log")):
            print(f"{log.name}: {log.read_text(errors='replace')[-2000:]}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)


def _start(environment: dict[str, str], patience: float) -> None:
    # A file instead of a pipe: the service would hold a pipe open for as long as it runs.
    with tempfile.TemporaryFile() as output:
        try:
            code = subprocess.run(
                [CONTROL, "-d"],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=patience,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{CONTROL} does not start within {patience:.0f} s") from None
        output.seek(0)
        said = " ".join(output.read().decode(errors="replace").split())
    if code:
        raise RuntimeError(f"{CONTROL} exited with {code}: {said[:200]}")


def _stop(folder: Path, environment: dict[str, str], patience: float) -> None:
    """Ask the service to quit, and kill it if it does not."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [CONTROL],
            env={**os.environ, **environment},
            input=b"quit\n",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=patience,
            check=False,
        )
    for file in (folder / "pipes").glob("*.pid"):
        with contextlib.suppress(OSError, ValueError):
            process = int(file.read_text())
            if "mps" in Path(f"/proc/{process}/comm").read_text():
                os.kill(process, signal.SIGKILL)
