"""Steps tell their progress as lines, or as events for the process that draws."""

import json
import sys

import pytest

from qc_core.errors import UsageError
from qc_core.log import log
from qc_core.progress import EVENT_PREFIX, EVENTS_VARIABLE, Progress, step


def events(text: str) -> list[dict]:
    return [json.loads(line.removeprefix(EVENT_PREFIX)) for line in text.splitlines()]


def test_a_log_gets_lines_without_carriage_returns(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, "playing", "episode") as progress:
        progress.update(3, note="success 50%")
    log.info("done")
    shown = capsys.readouterr()
    assert "\r" not in shown.err and shown.out == ""
    assert "3/3" in shown.err and "success 50%" in shown.err and "episode/s" in shown.err


@pytest.mark.parametrize("bars", [True, False])
def test_what_is_said_is_one_line_and_commands_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, bars: bool
) -> None:
    """With tqdm, which a training has, and without it, where a policy is only run."""
    if not bars:
        monkeypatch.delitem(sys.modules, "tqdm", raising=False)
    log.info("quarantined: \x1b[2J\nall is well")
    assert capsys.readouterr().err == "quarantined: ?[2J?all is well\n"


def test_the_drawing_process_gets_events(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EVENTS_VARIABLE, "1")
    with step("ingest", "collect"), Progress(2, "collecting", "episode") as progress:
        progress.update(2)
    told = events(capsys.readouterr().out)
    kinds = [event["event"] for event in told]
    assert (kinds[0], kinds[-1]) == ("step", "step-done")
    assert told[-2]["closed"] and told[-2]["count"] == told[-2]["total"] == 2


def test_a_count_goes_on_where_an_earlier_process_left_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Progress(9, "offline", "update", done=7) as progress:
        progress.update(2)
    assert "9/9" in capsys.readouterr().err
    monkeypatch.setenv(EVENTS_VARIABLE, "1")
    with Progress(9, "offline", "update", done=7) as progress:
        progress.update(2)
    assert events(capsys.readouterr().out)[-1]["count"] == 9


def test_an_expected_error_ends_the_step_with_its_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EVENTS_VARIABLE, "1")
    with pytest.raises(SystemExit) as stop, step("ingest", "collect"):
        raise UsageError("no such file")
    assert stop.value.code == 2
    error = events(capsys.readouterr().out)[-1]
    assert (error["event"], error["message"], error["code"]) == ("error", "no such file", 2)


def test_an_unexpected_error_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), step("ingest", "collect"):
        raise ZeroDivisionError
