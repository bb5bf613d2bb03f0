"""The state and the endpoints of a KFP server, as far as the pipeline uses them.

Each request and answer is validated with KFP's published models, and an uploaded package with KFP's
own schema. An invalid request is refused and recorded.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.parser import BytesParser
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pipeline_spec

from tests.pipeline.kfp_models import check

Entries = dict[str, dict[str, Any]]


class Refused(Exception):
    """An error answer: HTTP status, gRPC code, message."""


@dataclass
class State:
    """The objects of a server, and its endpoints.

    Attributes:
        script: changes of a run, one for each request of it.
        late: runs that the server creates only when their list has been requested so many times.
        requests: method and path of each request.
        refused: requests that do not match KFP's models.
        plugins_output: what KFP's plugins add to each new run.
    """

    token: str | None = None
    plugins_output: dict[str, Any] = field(default_factory=dict)
    multi_user: bool = False
    pipelines: Entries = field(default_factory=dict)
    versions: Entries = field(default_factory=dict)
    experiments: Entries = field(default_factory=dict)
    runs: Entries = field(default_factory=dict)
    recurring_runs: Entries = field(default_factory=dict)
    script: list[dict[str, Any]] = field(default_factory=list)
    late: list[tuple[int, bytes]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def names(self, entries: Entries) -> list[str]:
        return [entry["display_name"] for entry in entries.values()]

    def answer(
        self, method: str, path: str, query: dict[str, str], body: bytes, authorization: str | None
    ) -> tuple[int, Any]:
        """Return HTTP status and content of the answer to a request.

        Args:
            body: JSON; for an upload, a MIME message with its header.
        """
        try:
            with self._lock:
                return 200, self._route(method, path, query, body, authorization)
        except Refused as error:
            status, code, message = error.args
        except (AssertionError, ValueError, json_format.ParseError) as error:
            self.refused.append(str(error))
            status, code, message = 400, 3, str(error)
        content = {"code": code, "message": message, "details": []}
        check(content, "GoogleRpcStatus")
        return status, content

    def _route(
        self, method: str, path: str, query: dict[str, str], body: bytes, authorization: str | None
    ) -> Any:
        if self.token and authorization != f"Bearer {self.token}":
            raise Refused(401, 16, f"no valid token in {authorization!r}")
        for known, form, kind, endpoint in _ROUTES:
            match = re.fullmatch(f"/apis/v2beta1/{form}", path)
            if match and method == known:
                content = endpoint(self, match, query, body)
                check(content, kind)
                return content
        raise Refused(404, 5, "Not Found")

    def _healthz(self, *_: Any) -> Any:
        return {"multi_user": self.multi_user}

    def _pipeline_by_name(self, match: re.Match[str], query: dict[str, str], _: bytes) -> Any:
        for entry in self.pipelines.values():
            if entry["name"] == match[1] and entry.get("namespace") == query.get("namespace"):
                return entry
        raise Refused(404, 5, f"Pipeline {match[1]} not found")

    def _create_pipeline(self, _: Any, __: Any, body: bytes) -> Any:
        new = _checked(body, "V2beta1Pipeline")
        self._require_namespace(new.get("namespace"))
        if new["name"] in (entry["name"] for entry in self.pipelines.values()):
            raise Refused(409, 6, f"Pipeline {new['name']} already exist")
        return _add(self.pipelines, new, "pipeline_id")

    def _list_versions(self, match: re.Match[str], query: dict[str, str], _: bytes) -> Any:
        own = [v for v in self.versions.values() if v["pipeline_id"] == match[1]]
        if query.get("sort_by") == "created_at desc":
            own.reverse()
        return self._page(own, "pipeline_versions", query)

    def _get_version(self, match: re.Match[str], *_: Any) -> Any:
        return _found(self.versions, match[2])

    def _upload_version(self, _: Any, query: dict[str, str], body: bytes) -> Any:
        parts: Any = BytesParser().parsebytes(body).get_payload()
        (part,) = parts
        assert part.get_param("name", header="content-disposition") == "uploadfile"
        assert part.get_filename().endswith(".yaml")
        documents = list(yaml.load_all(part.get_payload(decode=True), yaml.CSafeLoader))
        schema: Any = pipeline_spec
        json_format.ParseDict(documents[0], schema.PipelineSpec())
        for document in documents[1:]:
            json_format.ParseDict(document, schema.PlatformSpec())
        _found(self.pipelines, query["pipelineid"])
        for entry in self.versions.values():
            if (entry["pipeline_id"], entry["name"]) == (query["pipelineid"], query["name"]):
                raise Refused(409, 6, "Failed to create a pipeline version")
        new = {
            "pipeline_id": query["pipelineid"],
            "name": query["name"],
            "display_name": query["name"],
            "description": query["description"],
            "pipeline_spec": dict(zip(("pipeline_spec", "platform_spec"), documents, strict=True)),
        }
        return _add(self.versions, new, "pipeline_version_id")

    def _list_experiments(self, _: Any, query: dict[str, str], __: bytes) -> Any:
        self._require_namespace(query.get("namespace"))
        return self._page(list(self.experiments.values()), "experiments", query)

    def _create_experiment(self, _: Any, __: Any, body: bytes) -> Any:
        new = _checked(body, "V2beta1Experiment")
        self._require_namespace(new.get("namespace"))
        if new["display_name"] in self.names(self.experiments):
            raise Refused(409, 6, f"Experiment {new['display_name']} already exist")
        return _add(self.experiments, new, "experiment_id")

    def _create_run(self, _: Any, __: Any, body: bytes) -> Any:
        new = _checked(body, "V2beta1Run")
        self._check_job(new)
        started = {**new, "state": "PENDING", "plugins_output": self.plugins_output}
        return _add(self.runs, started, "run_id")

    def _list_runs(self, _: Any, query: dict[str, str], __: bytes) -> Any:
        self.late = [(turns - 1, body) for turns, body in self.late]
        for turns, body in [entry for entry in self.late if entry[0] <= 0]:
            self.late.remove((turns, body))
            self._create_run(None, None, body)
        runs = [
            run
            for run in self.runs.values()
            if run["experiment_id"] == query.get("experiment_id", run["experiment_id"])
        ]
        if query.get("sort_by") == "created_at desc":
            runs.reverse()
        return self._page(runs, "runs", query)

    def _terminate(self, match: re.Match[str], *_: Any) -> Any:
        history = [{"state": "RUNNING"}, {"state": "CANCELING"}]
        _found(self.runs, match[1]).update(state="CANCELING", state_history=history)
        return {}

    def _get_run(self, match: re.Match[str], *_: Any) -> Any:
        run = _found(self.runs, match[1])
        if self.script:
            run.update(self.script.pop(0))
        return run

    def _list_recurring_runs(self, _: Any, query: dict[str, str], __: bytes) -> Any:
        self._require_namespace(query.get("namespace"))
        return self._page(list(self.recurring_runs.values()), "recurringRuns", query)

    def _create_recurring_run(self, _: Any, __: Any, body: bytes) -> Any:
        new = _checked(body, "V2beta1RecurringRun")
        self._check_job(new)
        self._require_namespace(new.get("namespace"))
        assert 1 <= int(new["max_concurrency"]) <= 10
        (trigger,) = new["trigger"].values()
        if "cron" in trigger:
            assert len(trigger["cron"].split()) == 6, "with five fields KFP misreads the minute"
        else:
            assert int(trigger["interval_second"]) >= 1
        status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[new["mode"]]
        return _add(self.recurring_runs, {**new, "status": status}, "recurring_run_id")

    def _switch(self, match: re.Match[str], *_: Any) -> Any:
        entry = _found(self.recurring_runs, match[1])
        entry["status"] = "ENABLED" if match[2] == "enable" else "DISABLED"
        return {}

    def _delete_recurring_run(self, match: re.Match[str], *_: Any) -> Any:
        _found(self.recurring_runs, match[1])
        for run in self.runs.values():
            if run.get("recurring_run_id") == match[1] and run["state"] in ("RUNNING", "CANCELING"):
                self.refused.append("the Workflow of an active run was deleted with its schedule")
        del self.recurring_runs[match[1]]
        return {}

    def _check_job(self, new: dict[str, Any]) -> None:
        reference = new["pipeline_version_reference"]
        _found(self.pipelines, reference["pipeline_id"])
        _found(self.experiments, new["experiment_id"])
        own = [
            version
            for key, version in self.versions.items()
            if version["pipeline_id"] == reference["pipeline_id"]
            and reference.get("pipeline_version_id", key) == key
        ]
        if not own:
            raise Refused(404, 5, "PipelineVersion not found")
        specification = own[-1]["pipeline_spec"]["pipeline_spec"]
        known = specification["root"]["inputDefinitions"]["parameters"]
        given = new["runtime_config"]["parameters"]
        assert given.keys() <= known.keys(), f"unknown parameters {given.keys() - known.keys()}"
        for name, value in given.items():
            literals = known[name].get("literals", [value])
            assert value in literals, f"{name}: {value} is none of the allowed literals"

    def _require_namespace(self, namespace: str | None) -> None:
        if self.multi_user and not namespace:
            raise Refused(400, 3, "Invalid input error: a namespace is required")
        if not self.multi_user and namespace:
            raise Refused(400, 3, "In single-user mode there is no namespace")

    def _page(self, entries: list[dict[str, Any]], name: str, query: dict[str, str]) -> Any:
        if "filter" in query:
            content = json.loads(query["filter"])
            check(content, "V2beta1Filter")
            for predicate in content["predicates"]:
                key, text = predicate["key"], predicate["string_value"]
                if predicate["operation"] == "IS_SUBSTRING":
                    entries = [e for e in entries if text in e[key]]
                else:
                    assert predicate["operation"] == "EQUALS"
                    entries = [e for e in entries if e[key] == text]
        # At most two at a time, so that every list of three has a second page.
        start, size = int(query.get("page_token") or 0), min(int(query["page_size"]), 2)
        more = start + size < len(entries)
        page: dict[str, Any] = {"total_size": len(entries)}
        # KFP omits empty fields.
        if entries[start : start + size]:
            page[name] = entries[start : start + size]
        if more:
            page["next_page_token"] = str(start + size)
        return page


def _checked(body: bytes, kind: str) -> dict[str, Any]:
    content = json.loads(body)
    check(content, kind)
    return content


def _add(entries: Entries, new: dict[str, Any], key: str) -> dict[str, Any]:
    entry_id = str(uuid.uuid4())
    created = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=next(_MINUTES))
    entries[entry_id] = {**new, key: entry_id, "created_at": created.isoformat()}
    return entries[entry_id]


def _found(entries: Entries, entry_id: str) -> dict[str, Any]:
    if entry_id not in entries:
        raise Refused(404, 5, f"{entry_id} not found")
    return entries[entry_id]


_MINUTES = itertools.count()
_ID = "([0-9a-f-]{36})"
_ROUTES: list[tuple[str, str, str, Callable[..., Any]]] = [
    ("GET", "healthz", "V2beta1GetHealthzResponse", State._healthz),
    ("GET", "pipelines/names/([^/]+)", "V2beta1Pipeline", State._pipeline_by_name),
    ("POST", "pipelines", "V2beta1Pipeline", State._create_pipeline),
    ("POST", "pipelines/upload_version", "V2beta1PipelineVersion", State._upload_version),
    (
        "GET",
        f"pipelines/{_ID}/versions",
        "V2beta1ListPipelineVersionsResponse",
        State._list_versions,
    ),
    ("GET", f"pipelines/{_ID}/versions/{_ID}", "V2beta1PipelineVersion", State._get_version),
    ("GET", "experiments", "V2beta1ListExperimentsResponse", State._list_experiments),
    ("POST", "experiments", "V2beta1Experiment", State._create_experiment),
    ("POST", "runs", "V2beta1Run", State._create_run),
    ("GET", "runs", "V2beta1ListRunsResponse", State._list_runs),
    ("POST", f"runs/{_ID}:terminate", "object", State._terminate),
    ("GET", f"runs/{_ID}", "V2beta1Run", State._get_run),
    ("GET", "recurringruns", "V2beta1ListRecurringRunsResponse", State._list_recurring_runs),
    ("POST", "recurringruns", "V2beta1RecurringRun", State._create_recurring_run),
    ("POST", f"recurringruns/{_ID}:(enable|disable)", "object", State._switch),
    ("DELETE", f"recurringruns/{_ID}", "object", State._delete_recurring_run),
]
