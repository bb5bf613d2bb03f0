"""Versions of the pipeline on a KFP server, and which of them is released.

A schedule without a version of its own runs the newest version of one of KFP's pipelines, whoever
uploaded it. Released versions are therefore in a pipeline of their own, which only `qc release`
changes. All others are in a second pipeline, so that an experiment or a newer checkout of one
person changes no schedule.

The name of a version ends in digits of the digest of its content, and its description has the
complete digest. The same code thus finds its version again, whoever uploaded it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import kfp_server_api

from pipeline.definition import PIPELINE_NAME
from pipeline.form import DESCRIPTION
from pipeline.package import Package
from pipeline.server import AlreadyExists, NotFound, Server, Unreachable, list_all, name_filter
from qc_core.errors import RunError
from qc_core.scratch import scratch_folder

RELEASED = PIPELINE_NAME
UNRELEASED = f"{PIPELINE_NAME}-unreleased"
PIPELINES = (RELEASED, UNRELEASED)
_NOTES = {
    RELEASED: "Released versions: schedules run the newest one. `qc release` adds a version.",
    UNRELEASED: "Versions that are not released, of single runs and pinned schedules.",
}


def upload(server: Server, package: Package) -> Any:
    """Return the package's version on the server; upload it, unreleased, if the server has none.

    Raises:
        RunError: the upload was interrupted. The server stores nothing of an incomplete upload.
    """
    for name in PIPELINES:
        found = find_pipeline(server, name)
        version = _find_version(server, found, package) if found is not None else None
        if version is not None:
            return version
    return _upload(server, _pipeline(server, UNRELEASED), package, package.version_name)


def newest_release(server: Server) -> Any | None:
    """Return the version that schedules run; None if nothing is released."""
    pipeline = find_pipeline(server, RELEASED)
    if pipeline is None:
        return None
    answer = server.pipelines.pipeline_service_list_pipeline_versions(
        pipeline.pipeline_id, page_size=1, sort_by="created_at desc"
    )
    return answer.pipeline_versions[0] if answer.pipeline_versions else None


def add_release(server: Server, package: Package) -> Any:
    """Make the package the newest released version, also if it was released before.

    Raises:
        RunError: the upload was interrupted.
    """
    newest = newest_release(server)
    if newest is not None and is_version_of(newest, package):
        return newest
    pipeline = _pipeline(server, RELEASED)
    names = {version.display_name for version in _similar_versions(server, pipeline, package)}
    numbered = (f"{package.version_name}-{number}" for number in itertools.count(2))
    names_to_try = itertools.chain([package.version_name], numbered)
    name = next(name for name in names_to_try if name not in names)
    return _upload(server, pipeline, package, name)


def is_version_of(version: Any, package: Package) -> bool:
    """Whether a version on the server has the content of the package."""
    return package.digest in (version.description or "")


def inputs_of(version: Any) -> dict[str, Any]:
    """Return the definitions of a version's inputs by name."""
    content = version.pipeline_spec or {}
    # KFP combines the two documents of a package.
    specification = content.get("pipeline_spec", content)
    return specification.get("root", {}).get("inputDefinitions", {}).get("parameters", {})


def find_pipeline(server: Server, name: str) -> Any | None:
    """Return the pipeline of that name, or None if the server has none."""
    try:
        return server.pipelines.pipeline_service_get_pipeline_by_name(
            name, namespace=server.namespace
        )
    except NotFound:
        return None


def _pipeline(server: Server, name: str) -> Any:
    """Return the pipeline of that name; create it if the server has none."""
    found = find_pipeline(server, name)
    if found is not None:
        return found
    new = kfp_server_api.V2beta1Pipeline(
        name=name,
        display_name=name,
        description=f"{_NOTES[name]}\n\n{DESCRIPTION}",
        namespace=server.namespace,
    )
    try:
        return server.pipelines.pipeline_service_create_pipeline(new)
    except AlreadyExists:
        # Another client created it in the meantime.
        found = find_pipeline(server, name)
        if found is None:
            raise
        return found


def _similar_versions(server: Server, pipeline: Any, package: Package) -> Iterator[Any]:
    """Yield the versions whose names have the digits of the package's digest, newest first."""
    list_page = server.pipelines.pipeline_service_list_pipeline_versions
    return list_all(
        list_page,
        "pipeline_versions",
        pipeline_id=pipeline.pipeline_id,
        filter=name_filter(package.digits, "IS_SUBSTRING"),
        sort_by="created_at desc",
    )


def _find_version(server: Server, pipeline: Any, package: Package) -> Any | None:
    versions = _similar_versions(server, pipeline, package)
    return next((version for version in versions if is_version_of(version, package)), None)


def _upload(server: Server, pipeline: Any, package: Package, name: str) -> Any:
    with scratch_folder("package") as folder:
        path = folder / "pipeline.yaml"
        path.write_text(package.content, encoding="utf-8")
        try:
            return server.uploads.upload_pipeline_version(
                str(path),
                name=name,
                pipelineid=pipeline.pipeline_id,
                description=package.description,
            )
        except AlreadyExists as error:
            # Another client created it in the meantime.
            found = _find_version(server, pipeline, package)
            if found is None:
                raise RunError(
                    f"the package was not uploaded: {error}; if version {name} of "
                    f"{pipeline.display_name} has other content, delete it there"
                ) from error
            return found
        except Unreachable as error:
            raise Unreachable(f"the package was not uploaded: {error}") from error
