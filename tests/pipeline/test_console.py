"""The console shows the events of steps; the run log takes everything that they print."""

import io
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.console import Console
from pipeline.local import failure_of
from pipeline.run_log import RunLog
from qc_core.events import (
    EVENTS_VARIABLE,
    Event,
    Message,
    ProgressUpdated,
    StepFailed,
    StepFinished,
    StepStarted,
    send_event,
)


@pytest.fixture
def console() -> Console:
    return Console()


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch, console: Console) -> Callable[..., None]:
    """Sends events to the console, and returns when they have been shown."""

    def send(*events: Event) -> None:
        with console:
            for event in events:
                send_event(event)

    monkeypatch.setenv(EVENTS_VARIABLE, console.address)
    return send


def progress(count: int, closed: bool = False, process: int = 1) -> ProgressUpdated:
    return ProgressUpdated(process, "collecting", count, 8, "episode", "", closed)


def test_events_are_shown(send: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    send(
        StepStarted("ingest", "collect"),
        progress(0),
        progress(8),
        progress(8, closed=True),
        Message("done well"),
    )
    shown = capsys.readouterr()
    assert "▸ ingest: collect\n" in shown.err and "    done well\n" in shown.err
    assert "    collecting: 8/8 episodes" in shown.err
    assert shown.out == ""


def test_parallel_workers_announce_their_step_once_and_have_a_bar_each(
    send: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    started = StepStarted("tune", "try")
    bars = [progress(count, count == 8, process) for count in (0, 8) for process in (1, 2)]
    send(started, started, *bars)
    shown = capsys.readouterr().err
    assert shown.count("▸ tune") == 1 and shown.count("8/8 episodes") == 2
    # A log gets no control characters.
    assert shown.replace("\n", "").isprintable()


def test_first_failure_is_reported(console: Console, send: Callable[..., None]) -> None:
    failed = StepFailed("ingest", "no such file", 2)
    send(StepStarted("ingest", "collect"), failed, StepStarted("outcome", "report"))
    assert console.failure == failed
    assert console.unfinished == ["outcome"]


def test_step_that_was_killed_is_known(console: Console, send: Callable[..., None]) -> None:
    tune = StepStarted("tune", "try")
    send(StepStarted("pretrain", "learn"), StepFinished("pretrain"), tune, tune)
    assert console.unfinished == ["tune"] and console.failure is None
    assert list(console.seconds) == ["pretrain"]


def test_a_step_that_memory_killed_is_reported_with_what_helps(
    console: Console, send: Callable[..., None], tmp_path: Path
) -> None:
    send(StepStarted("tune", "try"))
    message = str(failure_of(console, tmp_path))
    assert "step tune failed: its process was killed, usually because memory ran out" in message
    assert f"lower --tune.workers and give --continue {tmp_path}; its output is in" in message


def test_invalid_event_is_ignored(
    console: Console, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EVENTS_VARIABLE, console.address)
    with console, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for content in (b"{broken", b'{"event": "Unknown"}', b'{"event": "StepFinished"}'):
            sender.sendto(content, console.address)
        send_event(StepFinished("never started"))
        send_event(Message("still listening"))
    assert "still listening" in capsys.readouterr().err


def test_run_log_takes_all_lines_but_blank_ones() -> None:
    file = io.StringIO()
    log = RunLog(file)
    # kfp.local writes the indentation of a line by itself.
    for text in ("    ", "Traceback:\n", "    ", "    raise\n", "\n", "a\n\nb\n"):
        log.write(text)
    assert file.getvalue() == "Traceback:\n    raise\na\nb\n"
