"""Releases a version of the pipeline: schedules that are not pinned run it from then on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.compile import DEFAULT_RECIPE
from pipeline.inputs import current_inputs, misfits
from pipeline.package import Package
from pipeline.schedule import change_inputs, followers, sent_inputs
from pipeline.server import Server
from pipeline.versions import add_release, newest_release
from qc_core.config.resources import DEFAULT_CPUS, check_resources, training_memory
from qc_core.errors import UsageError

_REPLACE = "`qc schedule delete {}`, and create it again after the release"


@dataclass(frozen=True, slots=True)
class Release:
    """A version that is now the newest released one.

    Attributes:
        version: its name.
        page: URL of its page in the KFP UI.
        is_new: it was not the newest released version before.
        schedules: names of the schedules that run it from their next start on.
        renamed: names of those that were replaced, because inputs had names of an earlier version
            or the memory of a training step was missing.
    """

    version: str
    page: str
    is_new: bool
    schedules: list[str]
    renamed: list[str]


def release(server: Server, package: Package) -> Release:
    """Release a package, and give the inputs of schedules their current names.

    Raises:
        UsageError: a schedule sends an input that the package does not accept; nothing was changed.
        RunError: the server failed; the same call completes the release.
    """
    schedules = list(followers(server))
    outdated: list[tuple[Any, list[Any], dict[str, Any]]] = []
    for entry, others in schedules:
        sent = sent_inputs(entry)
        current = current_inputs(sent)
        if refused := misfits(current, package.inputs):
            raise UsageError(
                f"nothing was released: schedule {entry.display_name} sends {', '.join(refused)}, "
                f"which this version does not accept; {_REPLACE.format(entry.display_name)}"
            )
        # The default in the package is that of another recipe.
        recipe = current.get("recipe", DEFAULT_RECIPE)
        cpus = current.get("resources_cpus", DEFAULT_CPUS)
        try:
            check_resources(resources_cpus=cpus)
        except UsageError as error:
            raise UsageError(
                f"nothing was released: schedule {entry.display_name} cannot start: {error}; "
                + _REPLACE.format(entry.display_name)
            ) from error
        current.setdefault("resources_memory", training_memory(recipe, cpus))
        if current != sent:
            outdated.append((entry, others, current))
    before = newest_release(server)
    version = add_release(server, package)
    for entry, others, current in outdated:
        change_inputs(server, entry, others, current)
    path = f"pipelines/details/{version.pipeline_id}/version/{version.pipeline_version_id}"
    return Release(
        version=version.display_name,
        page=server.page(path),
        is_new=before is None or before.pipeline_version_id != version.pipeline_version_id,
        schedules=sorted(entry.display_name for entry, _ in schedules),
        renamed=sorted(entry.display_name for entry, *_ in outdated),
    )
