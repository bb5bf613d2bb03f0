"""The active runs of a schedule, and ending them.

Kubernetes deletes the Workflow of an active run together with its schedule: no later step runs, and
KFP shows the run as running for ever. So a schedule may only be deleted when it has no active run.
"""

from __future__ import annotations

import time
from typing import Any

from pipeline.follow import ENDED
from pipeline.server import POLL, NotFound, Server, list_all
from qc_core.errors import RunError

# Seconds that a run may take to end after a request to terminate.
_END_SECONDS = 600.0


def runs_of(server: Server, entry: Any) -> list[Any]:
    """Return the runs that a recurring run has started, the newest first."""
    found = []
    for run in list_all(
        server.runs.run_service_list_runs,
        "runs",
        experiment_id=entry.experiment_id,
        sort_by="created_at desc",
    ):
        if run.created_at < entry.created_at:
            break
        if run.recurring_run_id == entry.recurring_run_id:
            found.append(run)
    return found


def active_runs(server: Server, entry: Any) -> list[Any]:
    """Return the runs of a recurring run that have not ended."""
    return [run for run in runs_of(server, entry) if run.state not in ENDED]


def terminate(server: Server, run: Any) -> None:
    """End a run, and wait until it has ended (RunError: it is still active after ten minutes)."""
    try:
        server.runs.run_service_terminate_run(run.run_id)
    except NotFound:
        return
    deadline = time.monotonic() + _END_SECONDS
    while server.runs.run_service_get_run(run.run_id).state not in ENDED:
        if time.monotonic() > deadline:
            raise RunError(
                f"run {run.run_id} does not end, and the schedule was not deleted: repeat the "
                "command when the run has ended"
            )
        time.sleep(POLL)
