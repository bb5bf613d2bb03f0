"""Start a run of the pipeline on a KFP server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import kfp_server_api

from pipeline.package import Package, upload
from pipeline.server import Clash, Server, each, named


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that the server has accepted.

    Attributes:
        page: where a person watches it.
        version: the pipeline version that it runs.
    """

    id: str
    name: str
    page: str
    version: str


def submit(
    server: Server, package: Package, *, experiment: str, name: str, service_account: str
) -> StartedRun:
    """Upload the package if the server lacks it, and start it.

    Args:
        experiment: the group of runs that it joins, made if there is none of that name.
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
    """The id of the experiment of that name."""
    found = _find_experiment(server, name)
    if found is not None:
        return found
    new = kfp_server_api.V2beta1Experiment(display_name=name, namespace=server.namespace)
    try:
        made: Any = server.experiments.experiment_service_create_experiment(new)
    except Clash:
        # Somebody was faster.
        found = _find_experiment(server, name)
        if found is None:
            raise
        return found
    return made.experiment_id


def _find_experiment(server: Server, name: str) -> str | None:
    list_page = server.experiments.experiment_service_list_experiments
    options = {"filter": named(name), "namespace": server.namespace}
    return next((e.experiment_id for e in each(list_page, "experiments", **options)), None)
