"""A KFP server in miniature: HTTP on loopback, the endpoints that we use, its state in memory.

Each request and each answer is checked with KFP's published models, an uploaded package with KFP's
own schema of packages. A request that does not pass is a 400, as with KFP, and is remembered.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pipeline_spec

from tests.pipeline.kfp_models import check

Entries = dict[str, dict[str, Any]]


class Refused(Exception):
    """An error answer: HTTP status, gRPC code, message."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong with matching requests.

    Attributes:
        act: does it, in the place of the answer; None loses the answer of a request that is done.
        times: how often.
    """

    method: str
    path: str
    act: Callable[[Any], None] | None
    times: list[int] = field(default_factory=lambda: [1])


@dataclass
class KFP:
    """What the server holds.

    Attributes:
        script: for each look at a run, what to change in it first.
        refused: what clients asked for that KFP's models do not know.
    """

    url: str = ""
    token: str | None = None
    multi_user: bool = False
    pipelines: Entries = field(default_factory=dict)
    versions: Entries = field(default_factory=dict)
    experiments: Entries = field(default_factory=dict)
    runs: Entries = field(default_factory=dict)
    recurring_runs: Entries = field(default_factory=dict)
    script: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def fail(
        self, method: str, path: str, act: Callable[[Any], None] | None, times: int = 1
    ) -> None:
        """Let requests go wrong whose method and path match."""
        self.faults.append(Fault(method, path, act, [times]))

    def names(self, entries: Entries) -> list[str]:
        return [entry["display_name"] for entry in entries.values()]


@contextmanager
def serve(context: Any = None) -> Iterator[KFP]:
    """Run one on a free port.

    Args:
        context: an ssl.SSLContext to serve https with.
    """
    kfp = KFP()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"kfp": kfp}))
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    kfp.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield kfp
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(status: int, content: str, kind: str = "application/json") -> Callable[[Any], None]:
    """A fault: this answer instead."""

    def act(handler: Any) -> None:
        handler.read_body()
        handler.reply(status, content.encode(), kind)

    return act


def drop(handler: Any) -> None:
    """A fault: half of the body is read, then the connection is reset."""
    handler.read_body(0.5)
    handler.reset()


class _Handler(BaseHTTPRequestHandler):
    kfp: KFP
    protocol_version = "HTTP/1.1"
    # Head and body are two packets; the second must not wait for the first one's acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read requests from `KFP.requests`."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def read_body(self, share: float = 1.0) -> bytes:
        return self.rfile.read(int(share * int(self.headers.get("Content-Length", 0))))

    def reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 302:
            self.send_header("Location", f"{self.kfp.url}/login")
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        self.kfp.requests.append(f"{self.command} {parts.path}")
        fault = self._fault(parts.path)
        if fault is not None and fault.act is not None:
            fault.act(self)
            return
        try:
            body = self.read_body()
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            content = self._route(parts.path, query, body)
            status = 200
        except Refused as error:
            status, code, message = error.args
            content = {"code": code, "message": message, "details": []}
            check(content, "GoogleRpcStatus")
        except (AssertionError, ValueError, json_format.ParseError) as error:
            self.kfp.refused.append(str(error))
            status, content = 400, {"code": 3, "message": str(error), "details": []}
        if fault is not None:
            self.reset()
            return
        self.reply(status, json.dumps(content).encode())

    def _fault(self, path: str) -> Fault | None:
        for fault in self.kfp.faults:
            if fault.times[0] and fault.method == self.command and re.search(fault.path, path):
                fault.times[0] -= 1
                return fault
        return None

    def _route(self, path: str, query: dict[str, str], body: bytes) -> Any:
        if self.kfp.token and self.headers.get("Authorization") != f"Bearer {self.kfp.token}":
            said = f"no valid token in {self.headers.get('Authorization')!r}"
            raise Refused(401, 16, said)
        assert path.startswith("/apis/v2beta1/"), path
        path = path.removeprefix("/apis/v2beta1/")
        for method, form, kind, route in _ROUTES:
            match = re.fullmatch(form, path)
            if match and method == self.command:
                content = route(self, match, query, body)
                check(content, kind)
                return content
        raise Refused(404, 5, "Not Found")

    def _healthz(self, *_: Any) -> Any:
        return {"multi_user": self.kfp.multi_user}

    def _pipeline_by_name(self, match: re.Match[str], query: dict[str, str], _: bytes) -> Any:
        for entry in self.kfp.pipelines.values():
            if entry["name"] == match[1] and entry.get("namespace") == query.get("namespace"):
                return entry
        raise Refused(404, 5, f"Pipeline {match[1]} not found")

    def _create_pipeline(self, _: Any, __: Any, body: bytes) -> Any:
        new = _checked(body, "V2beta1Pipeline")
        self._require_namespace(new.get("namespace"))
        if new["name"] in (entry["name"] for entry in self.kfp.pipelines.values()):
            raise Refused(409, 6, f"Pipeline {new['name']} already exist")
        return _add(self.kfp.pipelines, new, "pipeline_id")

    def _list_versions(self, match: re.Match[str], query: dict[str, str], _: bytes) -> Any:
        own = [v for v in self.kfp.versions.values() if v["pipeline_id"] == match[1]]
        if query.get("sort_by") == "created_at desc":
            own.reverse()
        return self._page(own, "pipeline_versions", query)

    def _get_version(self, match: re.Match[str], *_: Any) -> Any:
        return _found(self.kfp.versions, match[2])

    def _upload_version(self, _: Any, query: dict[str, str], body: bytes) -> Any:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts: Any = BytesParser().parsebytes(head + body).get_payload()
        (part,) = parts
        assert part.get_param("name", header="content-disposition") == "uploadfile"
        assert part.get_filename().endswith(".yaml")
        documents = list(yaml.load_all(part.get_payload(decode=True), yaml.CSafeLoader))
        schema: Any = pipeline_spec
        json_format.ParseDict(documents[0], schema.PipelineSpec())
        for document in documents[1:]:
            json_format.ParseDict(document, schema.PlatformSpec())
        _found(self.kfp.pipelines, query["pipelineid"])
        for entry in self.kfp.versions.values():
            if (entry["pipeline_id"], entry["name"]) == (query["pipelineid"], query["name"]):
                raise Refused(409, 6, "Failed to create a pipeline version")
        new = {
            "pipeline_id": query["pipelineid"],
            "name": query["name"],
            "display_name": query["name"],
            "description": query["description"],
            "pipeline_spec": documents[0],
        }
        return _add(self.kfp.versions, new, "pipeline_version_id")

    def _list_experiments(self, _: Any, query: dict[str, str], __: bytes) -> Any:
        self._require_namespace(query.get("namespace"))
        return self._page(list(self.kfp.experiments.values()), "experiments", query)

    def _create_experiment(self, _: Any, __: Any, body: bytes) -> Any:
        new = _checked(body, "V2beta1Experiment")
        self._require_namespace(new.get("namespace"))
        if new["display_name"] in self.kfp.names(self.kfp.experiments):
            raise Refused(409, 6, f"Experiment {new['display_name']} already exist")
        return _add(self.kfp.experiments, new, "experiment_id")

    def _create_run(self, _: Any, __: Any, body: bytes) -> Any:
        new = _checked(body, "V2beta1Run")
        self._check_job(new)
        return _add(self.kfp.runs, {**new, "state": "PENDING"}, "run_id")

    def _get_run(self, match: re.Match[str], *_: Any) -> Any:
        run = _found(self.kfp.runs, match[1])
        if self.kfp.script:
            run.update(self.kfp.script.pop(0))
        return run

    def _list_recurring_runs(self, _: Any, query: dict[str, str], __: bytes) -> Any:
        self._require_namespace(query.get("namespace"))
        return self._page(list(self.kfp.recurring_runs.values()), "recurringRuns", query)

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
        return _add(self.kfp.recurring_runs, {**new, "status": status}, "recurring_run_id")

    def _switch(self, match: re.Match[str], *_: Any) -> Any:
        entry = _found(self.kfp.recurring_runs, match[1])
        entry["status"] = "ENABLED" if match[2] == "enable" else "DISABLED"
        return {}

    def _delete_recurring_run(self, match: re.Match[str], *_: Any) -> Any:
        _found(self.kfp.recurring_runs, match[1])
        del self.kfp.recurring_runs[match[1]]
        return {}

    def _check_job(self, new: dict[str, Any]) -> None:
        reference = new["pipeline_version_reference"]
        _found(self.kfp.pipelines, reference["pipeline_id"])
        _found(self.kfp.experiments, new["experiment_id"])
        own = [
            version
            for key, version in self.kfp.versions.items()
            if reference.get("pipeline_version_id", key) == key
        ]
        if not own:
            raise Refused(404, 5, "PipelineVersion not found")
        known = own[-1]["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
        given = new["runtime_config"]["parameters"]
        assert given.keys() <= known.keys(), f"unknown parameters {given.keys() - known.keys()}"

    def _require_namespace(self, namespace: str | None) -> None:
        if self.kfp.multi_user and not namespace:
            raise Refused(400, 3, "Invalid input error: a namespace is required")
        if not self.kfp.multi_user and namespace:
            raise Refused(400, 3, "In single-user mode there is no namespace")

    def _page(self, entries: list[dict[str, Any]], name: str, query: dict[str, str]) -> Any:
        if "filter" in query:
            content = json.loads(query["filter"])
            check(content, "V2beta1Filter")
            for predicate in content["predicates"]:
                assert predicate["operation"] == "EQUALS"
                entries = [e for e in entries if e[predicate["key"]] == predicate["string_value"]]
        # At most two at a time, so that every list of three has a second page.
        start, size = int(query.get("page_token") or 0), min(int(query["page_size"]), 2)
        more = start + size < len(entries)
        page: dict[str, Any] = {"total_size": len(entries)}
        # KFP leaves out what is empty.
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
    created = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=len(entries))
    entries[entry_id] = {**new, key: entry_id, "created_at": created.isoformat()}
    return entries[entry_id]


def _found(entries: Entries, entry_id: str) -> dict[str, Any]:
    if entry_id not in entries:
        raise Refused(404, 5, f"{entry_id} not found")
    return entries[entry_id]


_ID = "([0-9a-f-]{36})"
_H = _Handler
_ROUTES: list[tuple[str, str, str, Callable[..., Any]]] = [
    ("GET", "healthz", "V2beta1GetHealthzResponse", _H._healthz),
    ("GET", "pipelines/names/([^/]+)", "V2beta1Pipeline", _H._pipeline_by_name),
    ("POST", "pipelines", "V2beta1Pipeline", _H._create_pipeline),
    ("POST", "pipelines/upload_version", "V2beta1PipelineVersion", _H._upload_version),
    (
        "GET",
        f"pipelines/{_ID}/versions",
        "V2beta1ListPipelineVersionsResponse",
        _H._list_versions,
    ),
    ("GET", f"pipelines/{_ID}/versions/{_ID}", "V2beta1PipelineVersion", _H._get_version),
    ("GET", "experiments", "V2beta1ListExperimentsResponse", _H._list_experiments),
    ("POST", "experiments", "V2beta1Experiment", _H._create_experiment),
    ("POST", "runs", "V2beta1Run", _H._create_run),
    ("GET", f"runs/{_ID}", "V2beta1Run", _H._get_run),
    ("GET", "recurringruns", "V2beta1ListRecurringRunsResponse", _H._list_recurring_runs),
    ("POST", "recurringruns", "V2beta1RecurringRun", _H._create_recurring_run),
    ("POST", f"recurringruns/{_ID}:(enable|disable)", "object", _H._switch),
    ("DELETE", f"recurringruns/{_ID}", "object", _H._delete_recurring_run),
]
