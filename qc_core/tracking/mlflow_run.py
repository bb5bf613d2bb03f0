"""A training, or the result of a run, in MLflow.

On one machine, a run is an MLflow run, and its trainings are nested runs. In Kubeflow Pipelines,
the server has created an MLflow run for the pipeline and one for the task, `MLFLOW_RUN_ID`: curves
go into the task's, options and result into the outermost one, so that MLflow's table compares runs.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

from qc_core.scratch import scratch_folder
from qc_core.tracking.metrics import Point

DEFAULT_EXPERIMENT = "q-chunking"
RUN_TAG = "q-chunking.run"
_PARENT_TAG = "mlflow.parentRunId"
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
# What one request may contain.
_MAX_METRICS, _MAX_PARAMETERS, _MAX_LENGTH = 1000, 100, 500
# The server does not see a training that waits for it, but this process should end some time.
_TIMEOUT, _ATTEMPTS = "10", "2"


class MLflowRun:
    """The tracker `mlflow` of `qc_core.tracking.send`.

    Args:
        start: `run`, the id of the run or None; `name` of the training, or None for the result of
            the run; `title` of the run; `options` of the run; `parameters` of the training.
    """

    def __init__(self, start: dict[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", _TIMEOUT)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", _ATTEMPTS)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._start, self._client = start, MlflowClient()
        # In Kubeflow Pipelines, the run of the task.
        self._task: str | None = os.environ.get("MLFLOW_RUN_ID")

    def begin(self) -> None:
        start, task = self._start, self._task
        if task is not None:
            self._experiment = self._client.get_run(task).info.experiment_id
            self._root = self._outermost(task)
        else:
            self._experiment = self._find_experiment()
            self._root = self._find_or_create(start["title"], {RUN_TAG: start["run"]})
        self._log_parameters(self._root, start["options"])
        # The run that gets the points, and whether this process ends it.
        self._own, self._is_ours = self._root, task is None
        if start["name"] is None:
            return
        if task is not None and not start["parameters"]:
            # The only training of the task.
            self._own = task
        elif start["run"] is not None:
            self._own = self._find_or_create(start["name"], {_PARENT_TAG: task or self._root})
            self._is_ours = True
            self._log_parameters(self._own, start["parameters"])

    def log(self, points: list[Point]) -> None:
        self._log_points(self._own, points)
        if self._task is not None and self._own != self._task:
            # The trainings of a task appear together in its own run.
            self._log_points(self._task, points, f"{self._start['name']}/")

    def result(self, content: dict[str, Any]) -> None:
        from mlflow.entities import Metric, RunTag

        now = int(content["time"] * 1000)
        self._client.log_batch(
            self._root,
            metrics=[Metric(name, value, now, 0) for name, value in content["metrics"].items()],
            tags=[RunTag(name, str(value)) for name, value in content["tags"].items()],
        )
        with scratch_folder("artifacts") as folder:
            for name, path in content["artifacts"].items():
                # A copy with the name that MLflow shows.
                shutil.copyfile(path, folder / name)
                self._client.log_artifact(self._root, str(folder / name))

    def end(self, state: str) -> None:
        # The server of Kubeflow Pipelines ends the runs that it has created.
        if self._is_ours:
            self._client.set_terminated(self._own, _STATUS[state])

    def _outermost(self, run_id: str) -> str:
        while parent := self._client.get_run(run_id).data.tags.get(_PARENT_TAG):
            run_id = parent
        return run_id

    def _find_experiment(self) -> str:
        if chosen := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return chosen
        from mlflow.exceptions import MlflowException

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT
        if found := self._client.get_experiment_by_name(name):
            return found.experiment_id
        try:
            return self._client.create_experiment(name)
        except MlflowException:
            # Another process has just created it.
            if found := self._client.get_experiment_by_name(name):
                return found.experiment_id
            raise

    def _find_or_create(self, name: str, tags: dict[str, str | None]) -> str:
        """Return the run of this name with these tags; another process may have created it.

        Args:
            tags: a value of None always creates a run.
        """
        known = {tag: value for tag, value in tags.items() if value is not None}
        if known and (found := self._find(name, known)):
            self._client.update_run(found, status="RUNNING")
            return found
        own = self._client.create_run(self._experiment, run_name=name, tags=known).info.run_id
        if known and (first := self._find(name, known)) and first != own:
            # Another process has created it at the same time.
            self._client.delete_run(own)
            return first
        return own

    def _find(self, name: str, tags: dict[str, str]) -> str | None:
        conditions = [f"tags.`{tag}` = '{value}'" for tag, value in tags.items()]
        conditions.append(f"attributes.run_name = '{name}'")
        found = self._client.search_runs(
            [self._experiment],
            " AND ".join(conditions),
            order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
            max_results=1,
        )
        return found[0].info.run_id if found else None

    def _log_parameters(self, run_id: str, parameters: dict[str, Any]) -> None:
        from mlflow.entities import Param

        # A parameter cannot be changed: that of a resumed training is there already.
        known = self._client.get_run(run_id).data.params
        entries = [
            Param(name, str(value)[:_MAX_LENGTH])
            for name, value in parameters.items()
            if name not in known
        ]
        for first in range(0, len(entries), _MAX_PARAMETERS):
            self._client.log_batch(run_id, params=entries[first : first + _MAX_PARAMETERS])

    def _log_points(self, run_id: str, points: list[Point], prefix: str = "") -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(f"{prefix}{name}", value, int(point.time * 1000), point.step)
            for point in points
            for name, value in point.values.items()
        ]
        for first in range(0, len(metrics), _MAX_METRICS):
            self._client.log_batch(run_id, metrics=metrics[first : first + _MAX_METRICS])
