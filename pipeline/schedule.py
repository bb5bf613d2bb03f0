"""Schedules: recurring runs of the pipeline on a KFP server, identified by name.

A schedule is pinned to a version, or runs the newest released one (`pipeline.versions`).

KFP cannot change a recurring run, only create and delete one. A changed schedule is therefore a new
recurring run that replaces the old one. The order of the requests ensures that never both start
runs, and that a failure leaves the old one active. An old one with an active run stays, paused, and
the next command for that name deletes it when the run has ended. Of several recurring runs of one
name, the newest is the schedule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import kfp_server_api

from pipeline.inputs import misfits
from pipeline.package import Package
from pipeline.schedule_runs import active_runs, runs_of, terminate
from pipeline.server import NotFound, Server, create_once, list_all, name_filter
from pipeline.submit import find_or_make_experiment
from pipeline.trigger import describe_trigger, missed_start
from pipeline.versions import (
    PIPELINES,
    add_release,
    find_pipeline,
    inputs_of,
    newest_release,
    upload,
)
from qc_core.errors import QCError, RunError, UsageError

_ENABLED = "ENABLED"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recurring run of the pipeline.

    Attributes:
        when: `cron 0 3 * * 1`, in the server's time zone, or `every 12h`.
        paused: it starts no runs until it is resumed.
        version: the pipeline version that it is pinned to; None means the newest released one.
        replaced: a newer one of its name has replaced it, and its last run is still active.
        refused: inputs that it sends and the newest released version does not accept, so that it
            cannot start a run.
    """

    id: str
    name: str
    when: str
    paused: bool
    version: str | None
    replaced: bool = False
    refused: tuple[str, ...] = ()


def make_schedule(
    server: Server,
    package: Package,
    trigger: Any,
    *,
    name: str,
    experiment: str,
    service_account: str,
    pin: bool,
) -> tuple[Schedule, Any, list[Any]]:
    """Create a schedule; it replaces an existing one of the same name.

    Args:
        trigger: when runs start, from `pipeline.trigger`.
        pin: always run this package instead of the newest released version. If nothing is released,
            this package is released.

    Returns:
        The schedule, the version that it would run now, and the active runs of the one that it
        replaces.

    Raises:
        UsageError: the released version does not accept the inputs of the package.
        RunError: the schedule was not created, or the old one was not deleted; the message has the
            state of both.
    """
    version = upload(server, package) if pin else _released(server, package)
    newest = "always the newest released version; change it with qc schedule"
    new = kfp_server_api.V2beta1RecurringRun(
        display_name=name,
        description=f"{package.summary}; {package.identity if pin else newest}",
        experiment_id=find_or_make_experiment(server, experiment),
        namespace=server.namespace,
        # Without the id of a version, each run uses the version that is the newest when it starts.
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id,
            pipeline_version_id=version.pipeline_version_id if pin else None,
        ),
        # A later version may lack an input with its default value, and KFP would refuse the run.
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(
            parameters=package.parameters if pin else package.given
        ),
        service_account=service_account,
        trigger=trigger,
        mode="ENABLE",
        max_concurrency="1",
        no_catchup=True,
    )
    created, active = _replace(server, new, _recurring_runs(server, name))
    return _as_schedule(server, created), version, active


def _released(server: Server, package: Package) -> Any:
    """Return the newest released version, which must accept the package's inputs."""
    version = newest_release(server)
    if version is None:
        return add_release(server, package)
    if refused := misfits(package.given, inputs_of(version)):
        raise UsageError(
            f"the released version {version.display_name} does not accept {', '.join(refused)}: "
            "`qc release` releases the version of this machine, --pin runs it without a release"
        )
    return version


def followers(server: Server) -> Iterator[tuple[Any, list[Any]]]:
    """Yield the recurring runs that run the newest released version, the current one of each name.

    Yields:
        The recurring run, and those of the same name that it has replaced.
    """
    by_name: dict[str, list[Any]] = {}
    for entry in _recurring_runs(server):
        by_name.setdefault(entry.display_name, []).append(entry)
    for entry, *others in by_name.values():
        if not entry.pipeline_version_reference.pipeline_version_id:
            yield entry, others


def sent_inputs(entry: Any) -> dict[str, Any]:
    """Return the values of inputs that a recurring run sends."""
    return (entry.runtime_config.parameters or {}) if entry.runtime_config is not None else {}


def change_inputs(
    server: Server, entry: Any, others: list[Any], parameters: Mapping[str, Any]
) -> None:
    """Replace a recurring run by one that sends these parameters, paused if the old one is.

    Args:
        others: those of the same name that it has replaced.
    """
    config = kfp_server_api.V2beta1RuntimeConfig(parameters=dict(parameters))
    _replace(server, _copy(entry, runtime_config=config), [entry, *others])


def list_schedules(server: Server) -> list[Schedule]:
    """Return all schedules of the pipeline, sorted by name, the current one of a name first."""
    entries = _recurring_runs(server)
    released = newest_release(server) if entries else None
    definitions = inputs_of(released) if released is not None else {}
    names: set[str] = set()
    found = []
    for entry in entries:
        schedule = _as_schedule(server, entry)
        replaced = schedule.name in names and schedule.paused
        is_follower = not schedule.version and not replaced
        refused = misfits(sent_inputs(entry), definitions) if is_follower else ()
        found.append(replace(schedule, replaced=replaced, refused=tuple(refused)))
        names.add(schedule.name)
    return sorted(found, key=lambda schedule: schedule.name)


def pause_schedule(server: Server, name: str) -> None:
    """Stop starting runs; active runs continue (UsageError: there is no such schedule)."""
    for entry in _require(server, name):
        server.recurring_runs.recurring_run_service_disable_recurring_run(entry.recurring_run_id)


def resume_schedule(server: Server, name: str, *, make_up: bool = False) -> datetime | None:
    """Start runs again.

    KFP would start a run that was missed during the pause at once. Therefore the paused recurring
    run is replaced by a new one of the same settings, which knows no earlier starts.

    Args:
        make_up: let KFP start the missed run.

    Returns:
        The first start that was missed; None if there was none.

    Raises:
        UsageError: there is no such schedule.
    """
    newest, *others = _require(server, name)
    if newest.status == _ENABLED:
        return None
    runs = runs_of(server, newest)
    since = max([newest.created_at, *(run.created_at for run in runs[:1])])
    missed = missed_start(newest.trigger, since, datetime.now(timezone.utc))
    if make_up or missed is None:
        server.recurring_runs.recurring_run_service_enable_recurring_run(newest.recurring_run_id)
        _delete_idle(server, others)
        return missed
    _replace(server, _copy(newest, mode="ENABLE"), [newest, *others])
    return missed


def delete_schedule(server: Server, name: str, *, now: bool = False) -> list[str]:
    """Delete the schedule and keep its finished runs.

    Args:
        now: end its active run first.

    Returns:
        The ids of the runs that were ended.

    Raises:
        UsageError: there is no such schedule, or it has an active run.
        RunError: a run does not end.
    """
    entries = _require(server, name)
    with _paused(server, entries, name):
        active = [run for entry in entries for run in active_runs(server, entry)]
        if active and not now:
            page = server.page(f"runs/details/{active[0].run_id}")
            raise UsageError(
                f"schedule {name} has an active run, {page}: wait until it has ended, or end it "
                "with --now"
            )
        for run in active:
            terminate(server, run)
    for entry in entries:
        _delete(server, entry)
    return [run.run_id for run in active]


def _copy(entry: Any, **changes: Any) -> Any:
    """Return a recurring run with the settings of another one and changes, to be created."""
    fields = ("display_name", "description", "experiment_id", "namespace", "runtime_config")
    fields += ("pipeline_version_reference", "service_account", "trigger", "max_concurrency")
    settings = {field: getattr(entry, field) for field in fields}
    settings["mode"] = "ENABLE" if entry.status == _ENABLED else "DISABLE"
    return kfp_server_api.V2beta1RecurringRun(**{**settings, **changes}, no_catchup=True)


def _replace(server: Server, new: Any, old: list[Any]) -> tuple[Any, list[Any]]:
    """Create a recurring run instead of others; return it, and active runs of the others."""
    with _paused(server, old, new.display_name):
        created = _create(server, new, old)
    try:
        return created, _delete_idle(server, old)
    except QCError as error:
        raise RunError(
            f"the new schedule {new.display_name} is active and the old one paused, but the old "
            f"one could not be deleted: {error}; repeat the command, or delete recurring run "
            f"{old[0].recurring_run_id} there"
        ) from error


def _delete_idle(server: Server, entries: list[Any]) -> list[Any]:
    """Delete paused recurring runs without an active run; return the active runs of the others."""
    active = []
    for entry in entries:
        if runs := active_runs(server, entry):
            active += runs
        else:
            _delete(server, entry)
    return active


def _delete(server: Server, entry: Any) -> None:
    # Another client may have deleted it.
    with suppress(NotFound):
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
    known = {entry.recurring_run_id for entry in old}

    def find() -> Any | None:
        found = _recurring_runs(server, new.display_name)
        return next((entry for entry in found if entry.recurring_run_id not in known), None)

    create = server.recurring_runs.recurring_run_service_create_recurring_run
    return create_once(lambda: create(new), find)


def _require(server: Server, name: str) -> list[Any]:
    """Return the recurring runs of that name, the newest first (UsageError: there is none)."""
    found = _recurring_runs(server, name)
    if not found:
        raise UsageError(f"there is no schedule {name}: `qc schedule list` lists all")
    return found


def _recurring_runs(server: Server, name: str | None = None) -> list[Any]:
    """Return the recurring runs of this pipeline, the newest first.

    Recurring runs of other pipelines may share their names.
    """
    found = [find_pipeline(server, pipeline) for pipeline in PIPELINES]
    ids = [pipeline.pipeline_id for pipeline in found if pipeline is not None]
    if not ids:
        return []
    list_page = server.recurring_runs.recurring_run_service_list_recurring_runs
    options = {"namespace": server.namespace}
    if name is not None:
        options["filter"] = name_filter(name)
    own = [
        entry
        for entry in list_all(list_page, "recurring_runs", **options)
        if (reference := entry.pipeline_version_reference) is not None
        and reference.pipeline_id in ids
    ]
    return sorted(own, key=lambda entry: entry.created_at, reverse=True)


def _as_schedule(server: Server, entry: Any) -> Schedule:
    reference = entry.pipeline_version_reference
    version = None
    if reference.pipeline_version_id:
        try:
            version = server.pipelines.pipeline_service_get_pipeline_version(
                reference.pipeline_id, reference.pipeline_version_id
            ).display_name
        except NotFound:
            # KFP has a copy of the version in the recurring run, and continues to start it.
            version = f"deleted ({reference.pipeline_version_id})"
    return Schedule(
        id=entry.recurring_run_id,
        name=entry.display_name,
        when=describe_trigger(entry.trigger),
        paused=entry.status != _ENABLED,
        version=version,
    )
