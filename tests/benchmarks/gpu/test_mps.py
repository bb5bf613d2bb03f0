"""MPS is used only by the processes that are meant to, and a service that fails is bounded."""

import os
from pathlib import Path

import pytest

from benchmarks.gpu.mps import CONTROL, mps


def _control(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / CONTROL
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_the_service_starts_and_is_asked_to_quit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    script = f'[ "$1" = -d ] && echo "start $CUDA_MPS_PIPE_DIRECTORY" >> {log} || cat >> {log}'
    _control(tmp_path, script, monkeypatch)
    with mps() as environment:
        pipes = Path(environment["CUDA_MPS_PIPE_DIRECTORY"])
        assert pipes.is_dir() and "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
        # A socket's path is limited to 107 characters.
        assert len(str(pipes)) < 60
    assert log.read_text() == f"start {pipes}\nquit\n"
    assert not pipes.exists()


def test_a_service_that_does_not_start_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _control(tmp_path, "echo no permission; exit 3", monkeypatch)
    with pytest.raises(RuntimeError, match="exited with 3: no permission"), mps():
        raise AssertionError("not reached")


def test_a_service_that_hangs_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _control(tmp_path, "exec sleep 60", monkeypatch)
    with pytest.raises(RuntimeError, match="does not start within"), mps(patience=0.2):
        raise AssertionError("not reached")
