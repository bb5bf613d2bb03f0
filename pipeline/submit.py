"""Starts runs of the pipeline on a KFP server."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import kfp_server_api

from pipeline.package import Package
from pipeline.server import (
    AlreadyExists,
    NotSent,
    Server,
    Unreachable,
    create_once,
    list_all,
    name_filter,
)
from pipeline.versions import upload


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that the server has accepted.

    Attributes:
        page: URL of its page in the KFP UI.
        version: name of its pipeline version.
        mlflow: URL of its page in MLflow; empty without MLflow.
    """

    id: str
    name: str
    page: str
    version: str
    mlflow: str = ""


def submit(
    server: Server, package: Package, *, experiment: str, name: str, service_account: str
) -> StartedRun:
    """Upload the package if the server does not have it, and start a run.

    Args:
        experiment: KFP's group of runs for this one; created if it does not exist.
        name: of the run, in the UI.
        service_account: Kubernetes account of the run's pods.

    Raises:
        Unreachable: the server did not confirm the run; the message says how to look for it.
    """
    version = upload(server, package)
    # A key of this very submission: after a lost answer, its run is found by it.
    key = f"submission {uuid.uuid4().hex}"
    experiment_id = find_or_make_experiment(server, experiment)
    new = kfp_server_api.V2beta1Run(
        display_name=name,
        description=f"{package.summary}; {key}",
        experiment_id=experiment_id,
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
        ),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=package.parameters),
        service_account=service_account,
    )

    def find() -> Any | None:
        options = {"experiment_id": experiment_id, "filter": name_filter(name)}
        found = list_all(server.runs.run_service_list_runs, "runs", **options)
        return next((run for run in found if key in (run.description or "")), None)

    try:
        run = create_once(lambda: server.runs.run_service_create_run(new), find)
    except NotSent:
        raise
    except Unreachable as error:
        raise Unreachable(
            f"the server did not confirm the run {name}: {error}; look for it at "
            f"{server.page('runs')} before you submit it again"
        ) from error
    page = server.page(f"runs/details/{run.run_id}")
    return StartedRun(run.run_id, name, page, version.display_name, _mlflow_page(run))


def _mlflow_page(run: Any) -> str:
    """Return the URL that KFP's MLflow plugin gives a run; empty if it made no MLflow run."""
    output = (run.plugins_output or {}).get("mlflow")
    entry = (output.entries or {}).get("run_url") if output is not None else None
    return str(entry.value or "") if entry is not None else ""


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
