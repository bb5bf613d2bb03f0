"""Recurring runs of the pipeline on a KFP server, found again by their names.

KFP cannot change a recurring run, only make and delete one. So a changed schedule is a new one
that takes the place of the old, in an order in which the two never fire side by side and a
failure leaves the old one at work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import kfp_server_api

from pipeline.package import Package, find_pipeline, latest_version, upload
from pipeline.server import NotFound, Server, Unreachable, each, named
from pipeline.submit import find_or_make_experiment
from pipeline.trigger import describe_trigger
from qc_core.errors import QCError, RunError, UsageError

_ENABLED = "ENABLED"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recurring run as people see it.

    Attributes:
        when: `cron 0 3 * * 1`, in the server's time zone, or `every 12h`.
        paused: it starts nothing until it is resumed.
        version: the pipeline version that it is pinned to; None takes the latest.
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
    """Create a recurring run, in the place of those of its name.

    Args:
        trigger: when it starts, as `pipeline.trigger` makes it.
        pin: always run this package, not the latest version of the pipeline.

    Returns:
        (the schedule, the version that it would run now)
    """
    version = upload(server, package)
    new = kfp_server_api.V2beta1RecurringRun(
        display_name=name,
        description=package.description,
        experiment_id=find_or_make_experiment(server, experiment),
        namespace=server.namespace,
        # Without a version's id it is the latest, whenever a run starts.
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id,
            pipeline_version_id=version.pipeline_version_id if pin else None,
        ),
        # What was asked for: the defaults of a later version may be others.
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=package.parameters),
        service_account=service_account,
        trigger=trigger,
        mode="ENABLE",
        max_concurrency="1",
        no_catchup=True,
    )
    old = list(_recurring_runs(server, name))
    with _at_rest(server, old, name):
        made = _create(server, new, old)
    for entry in old:
        try:
            server.recurring_runs.recurring_run_service_delete_recurring_run(entry.recurring_run_id)
        except NotFound:
            # Somebody else has deleted it.
            continue
        except QCError as error:
            raise RunError(
                f"the new schedule {name} is made and the old one paused, but it could not be "
                f"deleted, delete recurring run {entry.recurring_run_id} there: {error}"
            ) from error
    runs = package.version if pin else latest_version(server, version.pipeline_id)
    return _as_schedule(server, made), runs


def list_schedules(server: Server) -> list[Schedule]:
    """All schedules of the pipeline, by name."""
    found = [_as_schedule(server, entry) for entry in _recurring_runs(server)]
    return sorted(found, key=lambda schedule: schedule.name)


def pause_schedule(server: Server, name: str) -> None:
    """Start no more runs; those that have started go on (UsageError: there is no such schedule)."""
    for entry in _require(server, name):
        server.recurring_runs.recurring_run_service_disable_recurring_run(entry.recurring_run_id)


def resume_schedule(server: Server, name: str) -> None:
    """Start runs again (UsageError: there is no such schedule)."""
    for entry in _require(server, name):
        server.recurring_runs.recurring_run_service_enable_recurring_run(entry.recurring_run_id)


def delete_schedule(server: Server, name: str) -> None:
    """Forget the schedule, not its runs (UsageError: there is no such schedule)."""
    for entry in _require(server, name):
        server.recurring_runs.recurring_run_service_delete_recurring_run(entry.recurring_run_id)


@contextmanager
def _at_rest(server: Server, entries: list[Any], name: str) -> Iterator[None]:
    """Pause recurring runs; if what follows fails, those that were at work go on."""
    working = [entry.recurring_run_id for entry in entries if entry.status == _ENABLED]
    try:
        for entry_id in working:
            server.recurring_runs.recurring_run_service_disable_recurring_run(entry_id)
        yield
    except BaseException as error:
        try:
            for entry_id in working:
                server.recurring_runs.recurring_run_service_enable_recurring_run(entry_id)
        except QCError:
            raise RunError(
                f"the schedule {name} was not replaced and is paused now, qc schedule resume "
                f"{name} sets it to work again: {error}"
            ) from error
        raise


def _create(server: Server, new: Any, old: list[Any]) -> Any:
    try:
        return server.recurring_runs.recurring_run_service_create_recurring_run(new)
    except Unreachable:
        # The answer is lost; the server may have made it all the same.
        known = {entry.recurring_run_id for entry in old}
        for entry in _recurring_runs(server, new.display_name):
            if entry.recurring_run_id not in known:
                return entry
        raise


def _require(server: Server, name: str) -> list[Any]:
    found = list(_recurring_runs(server, name))
    if not found:
        raise UsageError(f"there is no schedule {name}: qc schedule list shows all")
    return found


def _recurring_runs(server: Server, name: str | None = None) -> Iterator[Any]:
    """The recurring runs of our pipeline; others may have the same name."""
    pipeline = find_pipeline(server)
    if pipeline is None:
        return
    list_page = server.recurring_runs.recurring_run_service_list_recurring_runs
    options = {"namespace": server.namespace}
    if name is not None:
        options["filter"] = named(name)
    for entry in each(list_page, "recurring_runs", **options):
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
