"""Steps report progress as log lines, and as events to the process that shows them."""

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qc_core.errors import UsageError
from qc_core.events import (
    EVENTS_VARIABLE,
    Event,
    Message,
    ProgressUpdated,
    StepFailed,
    StepFinished,
    StepStarted,
    decode_event,
)
from qc_core.log import log
from qc_core.progress import Progress, step


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[], Event]]:
    """Returns the next event that this process sends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "events"))
        listener.settimeout(0)
        monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "events"))
        yield lambda: decode_event(listener.recv(1 << 16))


def test_log_gets_lines_without_carriage_returns(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, "playing", "episode") as progress:
        progress.update(3, note="success 50%")
    log.info("done")
    shown = capsys.readouterr()
    assert "\r" not in shown.err and shown.out == ""
    assert "3/3" in shown.err and "success 50%" in shown.err and "episode/s" in shown.err


@pytest.mark.parametrize("bars", [True, False])
def test_message_is_one_line_without_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, bars: bool
) -> None:
    """With tqdm, which training has, and without it, as on a robot."""
    if not bars:
        monkeypatch.delitem(sys.modules, "tqdm", raising=False)
    log.info("quarantined: \x1b[2J\nall is well")
    assert capsys.readouterr().err == "quarantined: ?[2J?all is well\n"


def test_step_sends_its_start_progress_messages_and_end(received: Callable[[], Event]) -> None:
    with step("ingest", "collect"), Progress(2, "collecting", "episode") as progress:
        assert received() == StepStarted("ingest", "collect")
        first = received()
        assert isinstance(first, ProgressUpdated) and (first.count, first.closed) == (0, False)
        progress.update(2, note="all solved")
        log.info("two\nlines")
    updated, message, closed = received(), received(), received()
    assert isinstance(updated, ProgressUpdated) and updated.count == updated.total == 2
    assert message == Message("two?lines")
    assert isinstance(closed, ProgressUpdated) and closed.closed and closed.note == "all solved"
    assert received() == StepFinished("ingest")


def test_events_leave_stdout_alone_and_the_log_is_complete(
    received: Callable[[], Event], capfd: pytest.CaptureFixture[str]
) -> None:
    with step("ingest", "collect"), Progress(2, "collecting", "episode") as progress:
        progress.update(2)
    written = capfd.readouterr()
    assert written.out == ""
    assert "ingest: collect\n" in written.err and "collecting: 2/2 episodes" in written.err


def test_count_continues_where_an_earlier_process_stopped(
    capsys: pytest.CaptureFixture[str], received: Callable[[], Event]
) -> None:
    with Progress(9, "offline", "update", done=7) as progress:
        progress.update(2)
    assert "9/9" in capsys.readouterr().err
    first = received()
    assert isinstance(first, ProgressUpdated) and first.count == 7
    received()
    closed = received()
    assert isinstance(closed, ProgressUpdated) and closed.count == 9


def test_expected_error_ends_the_step_with_its_exit_code(
    received: Callable[[], Event], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop, step("ingest", "collect"):
        raise UsageError("no such file")
    assert stop.value.code == 2
    received()
    assert received() == StepFailed("ingest", "no such file", 2)
    assert capsys.readouterr().err.splitlines()[-1] == "ingest: no such file"


def test_unexpected_error_keeps_its_traceback_and_is_reported(
    received: Callable[[], Event],
) -> None:
    with pytest.raises(ZeroDivisionError), step("ingest", "collect"):
        raise ZeroDivisionError("no\nepisodes")
    received()
    assert received() == StepFailed("ingest", "ZeroDivisionError: no?episodes", 1)


def test_step_continues_without_the_process_that_shows_its_events(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "nobody"))
    with step("ingest", "collect"), Progress(2, "collecting", "episode") as progress:
        progress.update(2)
