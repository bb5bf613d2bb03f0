"""A step learns that `qc run` has ended, but only while it works."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qc_core.events import EVENTS_VARIABLE, alive_address, when_run_ends


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[socket.socket]:
    """The socket with which `qc run` shows that it is alive."""
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "events"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(alive_address(str(tmp_path / "events")))
        listener.listen()
        yield listener


def test_the_end_of_the_run_is_noticed_during_the_work(run: socket.socket) -> None:
    noticed = threading.Event()
    with when_run_ends(noticed.set):
        connection, _ = run.accept()
        connection.close()
        assert noticed.wait(60)


def test_the_end_of_the_run_after_the_work_does_nothing(run: socket.socket) -> None:
    noticed, before = threading.Event(), set(threading.enumerate())
    with when_run_ends(noticed.set):
        connection, _ = run.accept()
        (watcher,) = set(threading.enumerate()) - before
    connection.close()
    watcher.join(60)
    assert not watcher.is_alive() and not noticed.is_set()
