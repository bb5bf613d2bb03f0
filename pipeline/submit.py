"""Starts runs of the pipeline on a KFP server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import kfp_server_api

from pipeline.package import Package, upload
from pipeline.server import AlreadyExists, Server, list_all, name_filter


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that the server has accepted.

    Attributes:
        page: URL of its page in the KFP UI.
        version: name of its pipeline version.
    """

    id: str
    name: str
    page: str
    version: str


def submit(
    server: Server, package: Package, *, experiment: str, name: str, service_account: str
) -> StartedRun:
    """Upload the package if the server does not have it, and start a run.

    Args:
        experiment: KFP's group of runs for this one; created if it does not exist.
        name: of the run, in the UI.
        service_account: Kubernetes account of the run's pods.
    """
    version = upload(server, package)
    run = server.runs.run_service_create_run(
        kfp_server_api.V2beta1Run(
            display_name=name,
            experiment_id=find_or_make_experiment(server, experiment),
            pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
                pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
            ),
            runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=package.parameters),
            service_account=service_account,
        )
    )
    page = server.page(f"runs/details/{run.run_id}")
    return StartedRun(run.run_id, name, page, package.version)


def find_or_make_experiment(server: Server, name: str) -> str:
    """Return the id of the experiment of that name; create it if it does not exist."""
    found = _find_experiment(server, name)
    if found is not None:
        return found
    new = kfp_server_api.V2beta1Experiment(display_name=name, namespace=server.namespace)
    try:
        created: Any = server.experiments.experiment_service_create_experiment(new)
    except AlreadyExists:
        # Another client created it in the meantime.
        found = _find_experiment(server, name)
        if found is None:
            raise
        return found
    return created.experiment_id


def _find_experiment(server: Server, name: str) -> str | None:
    list_page = server.experiments.experiment_service_list_experiments
    options = {"filter": name_filter(name), "namespace": server.namespace}
    return next((e.experiment_id for e in list_all(list_page, "experiments", **options)), None)
