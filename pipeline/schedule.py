"""Schedules: recurring runs of the pipeline on a KFP server, identified by name.

KFP cannot change a recurring run, only create and delete one. A changed schedule is therefore a new
recurring run that replaces the old one. The order of the requests ensures that never both start
runs, and that a failure leaves the old one active.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import kfp_server_api

from pipeline.package import Package, find_pipeline, latest_version, upload
from pipeline.server import NotFound, Server, Unreachable, list_all, name_filter
from pipeline.submit import find_or_make_experiment
from pipeline.trigger import describe_trigger
from qc_core.errors import QCError, RunError, UsageError

_ENABLED = "ENABLED"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recurring run of the pipeline.

    Attributes:
        when: `cron 0 3 * * 1`, in the server's time zone, or `every 12h`.
        paused: it starts no runs until it is resumed.
        version: the pipeline version that it is pinned to; None means the latest.
    """

    id: str
    name: str
    when: str
    paused: bool
    version: str | None


def make_schedule(
    server: Server,
    package: Package,
    trigger: Any,
    *,
    name: str,
    experiment: str,
    service_account: str,
    pin: bool,
) -> tuple[Schedule, str]:
    """Create a schedule; it replaces an existing one of the same name.

    Args:
        trigger: when runs start, from `pipeline.trigger`.
        pin: always run this package instead of the latest version of the pipeline.

    Returns:
        The schedule, and the version that it would run now.

    Raises:
        RunError: the schedule was not created, or the old one was not deleted; the message has the
            state of both.
    """
    version = upload(server, package)
    new = kfp_server_api.V2beta1RecurringRun(
        display_name=name,
        description=package.description,
        experiment_id=find_or_make_experiment(server, experiment),
        namespace=server.namespace,
        # Without the id of a version, each run uses the version that is the latest when it starts.
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id,
            pipeline_version_id=version.pipeline_version_id if pin else None,
        ),
        # All parameters, because the defaults of a later version may differ.
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=package.parameters),
        service_account=service_account,
        trigger=trigger,
        mode="ENABLE",
        max_concurrency="1",
        no_catchup=True,
    )
    old = list(_recurring_runs(server, name))
    with _paused(server, old, name):
        created = _create(server, new, old)
    for entry in old:
        try:
            server.recurring_runs.recurring_run_service_delete_recurring_run(entry.recurring_run_id)
        except NotFound:
            # Another client deleted it.
            continue
        except QCError as error:
            raise RunError(
                f"the new schedule {name} is active and the old one paused, but the old one could "
                f"not be deleted: {error}; delete recurring run {entry.recurring_run_id} there"
            ) from error
    current = package.version if pin else latest_version(server, version.pipeline_id)
    return _as_schedule(server, created), current


def list_schedules(server: Server) -> list[Schedule]:
    """Return all schedules of the pipeline, sorted by name."""
    found = [_as_schedule(server, entry) for entry in _recurring_runs(server)]
    return sorted(found, key=lambda schedule: schedule.name)


def pause_schedule(server: Server, name: str) -> None:
    """Stop starting runs; active runs continue (UsageError: there is no such schedule)."""
    for entry in _require(server, name):
        server.recurring_runs.recurring_run_service_disable_recurring_run(entry.recurring_run_id)


def resume_schedule(server: Server, name: str) -> None:
    """Start runs again (UsageError: there is no such schedule)."""
    for entry in _require(server, name):
        server.recurring_runs.recurring_run_service_enable_recurring_run(entry.recurring_run_id)


def delete_schedule(server: Server, name: str) -> None:
    """Delete the schedule and keep its finished runs (UsageError: there is no such schedule)."""
    for entry in _require(server, name):
        server.recurring_runs.recurring_run_service_delete_recurring_run(entry.recurring_run_id)


@contextmanager
def _paused(server: Server, entries: list[Any], name: str) -> Iterator[None]:
    """Pause recurring runs; if the block fails, resume those that were active."""
    active = [entry.recurring_run_id for entry in entries if entry.status == _ENABLED]
    try:
        for entry_id in active:
            server.recurring_runs.recurring_run_service_disable_recurring_run(entry_id)
        yield
    except BaseException as error:
        try:
            for entry_id in active:
                server.recurring_runs.recurring_run_service_enable_recurring_run(entry_id)
        except QCError:
            raise RunError(
                f"the schedule {name} was not replaced and is now paused: {error}; "
                f"`qc schedule resume {name}` resumes it"
            ) from error
        raise


def _create(server: Server, new: Any, old: list[Any]) -> Any:
    """Create a recurring run; find it if the server created it but its answer was lost."""
    try:
        return server.recurring_runs.recurring_run_service_create_recurring_run(new)
    except Unreachable:
        known = {entry.recurring_run_id for entry in old}
        for entry in _recurring_runs(server, new.display_name):
            if entry.recurring_run_id not in known:
                return entry
        raise


def _require(server: Server, name: str) -> list[Any]:
    """Return the recurring runs of that name (UsageError: there is none)."""
    found = list(_recurring_runs(server, name))
    if not found:
        raise UsageError(f"there is no schedule {name}: `qc schedule list` lists all")
    return found


def _recurring_runs(server: Server, name: str | None = None) -> Iterator[Any]:
    """Yield the recurring runs of this pipeline; those of other pipelines may share their names."""
    pipeline = find_pipeline(server)
    if pipeline is None:
        return
    list_page = server.recurring_runs.recurring_run_service_list_recurring_runs
    options = {"namespace": server.namespace}
    if name is not None:
        options["filter"] = name_filter(name)
    for entry in list_all(list_page, "recurring_runs", **options):
        reference = entry.pipeline_version_reference
        if reference is not None and reference.pipeline_id == pipeline.pipeline_id:
            yield entry


def _as_schedule(server: Server, entry: Any) -> Schedule:
    reference = entry.pipeline_version_reference
    version = None
    if reference.pipeline_version_id:
        version = server.pipelines.pipeline_service_get_pipeline_version(
            reference.pipeline_id, reference.pipeline_version_id
        ).display_name
    return Schedule(
        id=entry.recurring_run_id,
        name=entry.display_name,
        when=describe_trigger(entry.trigger),
        paused=entry.status != _ENABLED,
        version=version,
    )
