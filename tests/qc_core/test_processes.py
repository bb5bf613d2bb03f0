"""Processes get the threads that their parent gives them, and need a main guard."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from qc_core.processes import one_thread_each, start_forked
from qc_core.worker_pool import worker_pool


def test_one_thread_each_sets_workers_and_restores_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with one_thread_each(), worker_pool(1) as pool:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            assert pool.submit(os.getenv, name).result() == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_threads_that_start_processes_at_once_restore_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def start_some() -> None:
        for _ in range(10):
            start_forked(os.chdir, "/").join()

    # Start the server of the processes.
    start_forked(os.chdir, "/").join()
    threads = [threading.Thread(target=start_some) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "OMP_NUM_THREADS" not in os.environ


POOL = """
from qc_core.worker_pool import worker_pool
with worker_pool(1, replace_killed=True) as pool:
    pool.submit(abs, -1).result()
"""
ENVIRONMENT = """
from qc_core.envs.remote import RemoteEnvironment
remote = RemoteEnvironment("Pendulum-v1")
remote.reset(0)
remote.receive()
"""


@pytest.mark.parametrize("program", [POOL, ENVIRONMENT])
def test_a_script_without_a_main_guard_ends_with_one_error(tmp_path: Path, program: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(program)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1 and "bootstrapping" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith(
        f"UsageError: {script} starts processes while it is imported, and each process imports "
        'it: move its calls below if __name__ == "__main__":'
    )
