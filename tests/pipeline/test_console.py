"""The console turns events into announcements and keeps the rest in the log."""

import io
import json

import pytest

from pipeline.console import Console
from qc_core.progress import EVENT_PREFIX


def event(**fields: object) -> str:
    return EVENT_PREFIX + json.dumps(fields) + "\n"


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


def progress(count: int, closed: bool = False, process: int = 1) -> str:
    return event(
        event="progress",
        process=process,
        label="collecting",
        count=count,
        total=8,
        unit="episode",
        note="",
        closed=closed,
    )


def test_events_are_shown_and_other_lines_only_logged(
    log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    with Console(log) as console:
        console.write("some library's chatter\n    ")
        console.write("    " + event(event="step", name="ingest", description="collect"))
        console.write(progress(8, closed=True))
        console.write(event(event="say", text="done well"))
    shown = capsys.readouterr().err
    assert "▸ ingest: collect" in shown and "done well" in shown
    assert "collecting: 8/8 episodes" in shown
    assert "chatter" not in shown and "chatter" in log.getvalue()


def test_parallel_workers_announce_their_step_once(
    log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    with Console(log) as console:
        for _ in range(2):
            console.write(event(event="step", name="tune", description="try"))
    assert capsys.readouterr().err.count("▸ tune") == 1


def test_the_failed_steps_own_words_are_kept(log: io.StringIO) -> None:
    with Console(log) as console:
        console.write("Traceback (most recent call last):\nValueError: no good\n")
        console.write(event(event="error", name="ingest", message="no such file", code=2))
        assert console.exception == "ValueError: no good"
        assert console.error == ("no such file", 2)


def test_a_line_that_only_looks_like_an_event_does_no_harm(log: io.StringIO) -> None:
    with Console(log) as console:
        console.write(EVENT_PREFIX + "{broken\n")
    assert "{broken" in log.getvalue()
