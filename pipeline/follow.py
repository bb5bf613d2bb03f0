"""Follows a run on a KFP server until it ends, and reconnects after a lost connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from pipeline.server import Server, Unreachable
from qc_core.errors import RunError

# Seconds between two requests, and the longest pause between two attempts to reconnect.
POLL = 5.0
LONGEST_PAUSE = 60.0
# Seconds without an answer after which following stops.
PATIENCE = 1800.0
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        text: one line for people, as far as KFP knows.
    """

    succeeded: bool
    text: str


def follow(
    connect: Callable[[], AbstractContextManager[Server]],
    run_id: str,
    steps: Mapping[str, str],
    report: Callable[[str], None],
    each_time: Callable[[], None] = lambda: None,
) -> Ended:
    """Wait until the run has ended, and report each change of a step's state.

    Args:
        connect: connects to the server, again after each lost connection; this also renews a
            port-forward.
        steps: names of the steps to report, by KFP's names of their tasks.
        report: called with one line of text.
        each_time: called after each request.

    Raises:
        RunError: the server did not answer for `PATIENCE` seconds.
    """
    seen: dict[str, str] = {}
    answered = time.monotonic()
    pause = POLL
    while True:
        try:
            with connect() as server:
                while True:
                    run = server.runs.run_service_get_run(run_id)
                    answered, pause = time.monotonic(), POLL
                    _report_changes(run, steps, seen, report)
                    each_time()
                    if run.state in ENDED:
                        return _ended(run, steps)
                    time.sleep(POLL)
        except Unreachable as error:
            if time.monotonic() - answered > PATIENCE:
                raise RunError(f"the run continues, but the server is away: {error}") from error
            if pause == POLL:
                report(f"{error}; the run continues, trying again")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _ended(run: Any, steps: Mapping[str, str]) -> Ended:
    if run.state == "SUCCEEDED":
        return Ended(True, "the run succeeded")
    # KFP reports a run that a person ended as failed.
    states = [run.state, *(status.state for status in run.state_history or ())]
    if "CANCELING" in states or "CANCELED" in states:
        return Ended(False, "the run was cancelled")
    return Ended(False, f"the run {run.state.lower()}: {_reason(run, steps)}")


def _report_changes(
    run: Any, steps: Mapping[str, str], seen: dict[str, str], report: Callable[[str], None]
) -> None:
    """Report the steps whose state is not the one in `seen`, and update `seen`."""
    for task in _tasks(run):
        if task.display_name not in steps or task.state is None:
            continue
        if seen.get(task.task_id) != task.state:
            seen[task.task_id] = task.state
            report(f"{steps[task.display_name]}: {task.state.lower()}{_duration(task)}")


def _duration(task: Any) -> str:
    """Return ` after 1 min 5 s` for a task that has ended; KFP's zero time is 1970."""
    if task.state not in ENDED or task.start_time is None or task.end_time is None:
        return ""
    seconds = int((task.end_time - task.start_time).total_seconds())
    if not 0 <= seconds < 10**8:
        return ""
    return (
        f" after {seconds // 60} min {seconds % 60} s" if seconds >= 60 else f" after {seconds} s"
    )


def _reason(run: Any, steps: Mapping[str, str]) -> str:
    """Return which step failed, and KFP's error message."""
    failed = [task for task in _tasks(run) if task.state == "FAILED"]
    named = [task for task in failed if task.display_name in steps]
    # The task of a step may have no message; then the task of its container has one.
    messages = [message for task in (*named, *failed) if (message := _message(task))]
    if run.error is not None and run.error.message:
        messages.append(run.error.message)
    message = " ".join(messages[0].split()) if messages else "KFP gives no reason"
    return f"step {steps[named[0].display_name]}: {message}" if named else message


def _message(task: Any) -> str | None:
    """Return the error message of a task; KFP may have it only in the history of its states."""
    errors = [task.error, *(status.error for status in reversed(task.state_history or ()))]
    return next((error.message for error in errors if error is not None and error.message), None)


def _tasks(run: Any) -> list[Any]:
    return (run.run_details.task_details if run.run_details is not None else None) or []
