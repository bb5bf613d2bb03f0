"""Watch a run until it ends, over lost connections if need be."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from pipeline.server import Server, Unreachable
from qc_core.errors import RunError

# Seconds between two looks, and the longest pause between two tries to reach the server again.
POLL = 5.0
LONGEST_PAUSE = 60.0
# Seconds without an answer after which nobody waits any longer.
PATIENCE = 1800.0
_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


def follow(
    connect: Callable[[], AbstractContextManager[Server]],
    run_id: str,
    steps: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    """Return when the run has succeeded.

    Args:
        connect: reaches the server anew after each loss, which also renews a port-forward.
        steps: the tasks to tell about: our names by KFP's.
        say: takes one line for each change of a step.

    Raises:
        RunError: the run ended otherwise, or the server was away for `PATIENCE`.
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
                    _tell_changes(run, steps, seen, say)
                    if run.state in _ENDED:
                        break
                    time.sleep(POLL)
            break
        except Unreachable as error:
            if time.monotonic() - answered > PATIENCE:
                raise RunError(f"the run goes on, but nobody can see how: {error}") from error
            if pause == POLL:
                say(f"{error}; the run goes on, trying again")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
    if run.state != "SUCCEEDED":
        raise RunError(f"the run {run.state.lower()}: {_reason(run, steps)}")


def _tell_changes(
    run: Any, steps: Mapping[str, str], seen: dict[str, str], say: Callable[[str], None]
) -> None:
    for task in _tasks(run):
        if task.display_name not in steps or task.state is None:
            continue
        if seen.get(task.task_id) != task.state:
            seen[task.task_id] = task.state
            say(f"{steps[task.display_name]}: {task.state.lower()}")


def _reason(run: Any, steps: Mapping[str, str]) -> str:
    """Which step failed, and what KFP says about it."""
    failed = [task for task in _tasks(run) if task.state == "FAILED"]
    named = [task for task in failed if task.display_name in steps]
    # A step's own task may say nothing; then that of its container does.
    messages = [message for task in (*named, *failed) if (message := _message(task))]
    if run.error is not None and run.error.message:
        messages.append(run.error.message)
    message = " ".join(messages[0].split()) if messages else "KFP does not say why"
    return f"step {steps[named[0].display_name]}: {message}" if named else message


def _message(task: Any) -> str | None:
    """The error of a task, which KFP may keep only in the history of its states."""
    errors = [task.error, *(status.error for status in reversed(task.state_history or ()))]
    return next((error.message for error in errors if error is not None and error.message), None)


def _tasks(run: Any) -> list[Any]:
    return (run.run_details.task_details if run.run_details is not None else None) or []
