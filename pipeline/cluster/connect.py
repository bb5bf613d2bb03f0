"""Connects KFP to the store by changing single settings of its objects, and undoes that.

Each change is a strategic merge patch, as `kubectl patch` sends it. Unlike `kubectl apply` of
partial objects, it keeps every other field, can be repeated, and works after an update of KFP. The
former values are in a Secret in the cluster, so that any machine can restore them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import ndiff
from typing import Any

from pipeline.cluster.fields import Field, patches
from pipeline.cluster.kfp_settings import (
    API_SERVER,
    CONFIG_FILE,
    INSTALLATION,
    KEYS,
    KFP_CONFIG,
    KFP_SECRET,
    MLFLOW_SERVICE,
    REQUIRED,
    STORE_SECRET,
    UI,
    WORKFLOW_DEFAULTS,
    as_mapping_text,
    kfp_version,
    store_address,
    wanted_settings,
)
from pipeline.cluster.kubectl import Kubectl, Object, Objects
from qc_core.errors import RunError, UsageError

TESTED_VERSION = "2.17"
_RECORD = "secret/q-chunking-kfp-before"
_RECORD_KEY = "settings.json"
_ROLLOUT_SECONDS = 600.0
_DEPLOYMENTS = (API_SERVER, UI)
_HEALTH = "/api/v1/namespaces/{}/services/ml-pipeline:8888/proxy/apis/v2beta1/healthz"


@dataclass(frozen=True, slots=True)
class Change:
    """A field of KFP's objects with its current and its new value."""

    field: Field
    before: Any
    after: Any

    def describe(self) -> str:
        """Return what changes, in one line or as a comparison of lines; no value of a Secret."""
        where = f"{self.field.reference} {self.field.key}"
        if self.field.secret:
            return f"{where}: {'set' if self.before is None else 'replaced'} (not shown)"
        old, new = _shown(self.before), _shown(self.after)
        if "\n" not in old + new:
            return f"{where}: {old or 'not set'} → {new or 'not set'}"
        different = [
            f"    {line.rstrip()}"
            for line in ndiff(old.splitlines(), new.splitlines())
            if line[0] in "+-"
        ]
        return "\n".join([f"{where}:", *different])


class Connection:
    """The settings of one KFP installation, read once, and the changes that connect it.

    Attributes:
        notes: facts that a person should know, and that do not prevent the change.
    """

    def __init__(self, kubectl: Kubectl, default_account: str | None = None) -> None:
        """Read the objects of KFP and of the product.

        Raises:
            UsageError: one is missing, the store's keys are incomplete, or the store does not run.
        """
        self._kubectl = kubectl
        self._default_account = default_account
        self._objects = self._read()
        require_objects(self._objects, kubectl.namespace)
        self.notes: list[str] = []
        if not kfp_version(self._objects).startswith(TESTED_VERSION):
            self.notes.append(
                f"KFP is version {kfp_version(self._objects)}; this was tested with "
                f"{TESTED_VERSION}"
            )
        self.changes = self._find_changes()

    def apply(self, *, now: bool = False) -> None:
        """Make the changes, wait for KFP's servers, and check the result.

        Args:
            now: change Argo's defaults although runs are active.

        Raises:
            UsageError: runs are active, the store does not run, or the account lacks a right.
            RunError: KFP's servers did not start with the new settings; the message has the reason.
        """
        self._require_store()
        if not now and any(change.field == WORKFLOW_DEFAULTS for change in self.changes):
            require_no_active_runs(self._kubectl)
        if self.changes:
            self._make({change.field: change.after for change in self.changes}, self._record())
        _wait_for_servers(self._kubectl)
        self._objects = self._read()
        if left := self._find_changes():
            raise RunError(
                f"{len(left)} settings changed back, the first is {left[0].describe()}: another "
                "program manages KFP's objects; make the changes there"
            )

    def _read(self) -> Objects:
        return self._kubectl.get(
            *REQUIRED, INSTALLATION, KFP_SECRET, KFP_CONFIG, MLFLOW_SERVICE, _RECORD
        )

    def _find_changes(self) -> list[Change]:
        found = []
        config = None
        if MLFLOW_SERVICE in self._objects:
            config = read_kfp_config(self._kubectl)
        for field, wanted in wanted_settings(
            self._objects, self._kubectl.namespace, self._default_account, config
        ):
            before = field.read(self._objects)
            if (after := wanted(before)) != before:
                found.append(Change(field, before, after))
        return found

    def _require_store(self) -> None:
        service = store_address(self._objects, self._kubectl.namespace).service
        if service and not ready_addresses(self._kubectl, service):
            raise UsageError(
                f"the store does not run: Service {service} has no ready pod; look at "
                f"kubectl -n {self._kubectl.namespace} get pods"
            )

    def _record(self) -> list[Object]:
        """Return the former values of all fields that are or will be ours.

        A field that still has the value of an earlier call keeps its older record: the value before
        that call. Any other value was set by KFP or a person since, and is the new one to restore.
        """
        record = {_field_of(entry): entry for entry in read_record(self._objects)}
        for change in self.changes:
            old = record.get(change.field)
            before = old["before"] if old and old["ours"] == change.before else change.before
            record[change.field] = {
                **change.field._asdict(),
                "before": before,
                "ours": change.after,
            }
        return list(record.values())

    def _make(self, values: Mapping[Field, Any], record: Sequence[Object]) -> None:
        wanted = patches(values, self._objects)
        # The server checks everything before anything changes.
        for reference, patch in wanted.items():
            if reference in self._objects:
                self._kubectl.patch(reference, patch, dry_run=True)
        write_record(self._kubectl, self._objects, record)
        send(self._kubectl, self._objects, wanted)


def undo(kubectl: Kubectl, *, now: bool = False) -> tuple[list[Change], list[Field]]:
    """Restore the values before the first `connect`.

    Returns:
        The restored fields, and those that others have changed since, which stay as they are.

    Raises:
        UsageError: nothing is recorded, or runs are active and Argo's defaults would change.
    """
    objects = kubectl.get(*REQUIRED, KFP_SECRET, KFP_CONFIG, _RECORD)
    record = read_record(objects)
    if not record:
        raise UsageError(
            f"namespace {kubectl.namespace} has no record of `qc cluster connect`: nothing to undo"
        )
    restored, foreign = [], []
    for entry in record:
        field = _field_of(entry)
        if (current := field.read(objects)) != entry["ours"]:
            foreign.append(field)
        else:
            restored.append(Change(field, current, entry["before"]))
    if not now and any(change.field == WORKFLOW_DEFAULTS for change in restored):
        require_no_active_runs(kubectl)
    values = {change.field: change.after for change in restored}
    send(kubectl, objects, patches(values, objects))
    _wait_for_servers(kubectl)
    kubectl.delete(_RECORD)
    return restored, foreign


def require_objects(objects: Objects, namespace: str) -> None:
    """Refuse an installation that lacks an object (UsageError: it names the first missing one)."""
    for reference in REQUIRED:
        if reference in objects:
            continue
        ours = reference.partition("/")[2].startswith("q-chunking")
        remedy = (
            "apply the manifests and create the Secrets first"
            if ours
            else "install Kubeflow Pipelines there, or choose another --namespace"
        )
        raise UsageError(f"namespace {namespace} has no {reference}: {remedy}")
    for key in KEYS:
        if not Field(STORE_SECRET, key).read(objects):
            raise UsageError(f"{STORE_SECRET} has no key {key}: create it with both keys")


def require_no_active_runs(kubectl: Kubectl) -> None:
    """Refuse to change Argo's defaults during runs (UsageError: it names one)."""
    active = active_workflows(kubectl)
    if active:
        raise UsageError(
            f"{len(active)} runs are active, such as {active[0]}, and Argo would start them again "
            "from their first step: wait until they have ended, or add --now"
        )


def active_workflows(kubectl: Kubectl) -> list[str]:
    """Return the names of Workflows that have not ended."""
    return [
        workflow["metadata"]["name"]
        for workflow in kubectl.list("workflows.argoproj.io")
        if workflow.get("status", {}).get("phase") not in ("Succeeded", "Failed", "Error")
    ]


def ready_addresses(kubectl: Kubectl, service: str) -> list[str]:
    """Return the addresses of a Service's ready pods."""
    slices = kubectl.list("endpointslices", f"--selector=kubernetes.io/service-name={service}")
    return [
        address
        for found in slices
        for endpoint in found.get("endpoints") or ()
        if endpoint.get("conditions", {}).get("ready", True)
        for address in endpoint["addresses"]
    ]


def send(kubectl: Kubectl, objects: Objects, wanted: Mapping[str, Object]) -> None:
    """Send patches: configuration first, then the servers that read it when they start."""
    for reference in sorted(wanted, key=lambda reference: reference in _DEPLOYMENTS):
        if reference in objects:
            kubectl.patch(reference, wanted[reference])
        else:
            kubectl.create(_new_object(reference, wanted[reference]["data"]))
    if {KFP_SECRET, KFP_CONFIG} & wanted.keys():
        # Pods read Secrets as environment variables, and single mounted files, only when they
        # start.
        for reference in set(_DEPLOYMENTS) - wanted.keys():
            kubectl.restart(reference.partition("/")[2])


def read_record(objects: Objects) -> list[Object]:
    """Return the recorded fields, each with the value `before` and our value."""
    text = Field(_RECORD, _RECORD_KEY).read(objects)
    return json.loads(base64.b64decode(text)) if text else []


def write_record(kubectl: Kubectl, objects: Objects, record: Iterable[Object]) -> None:
    """Store the record in its Secret; it may contain former keys of a store."""
    content = base64.b64encode(json.dumps(list(record)).encode()).decode()
    if _RECORD in objects:
        kubectl.patch(_RECORD, {"data": {_RECORD_KEY: content}})
    else:
        kubectl.create(_new_object(_RECORD, {_RECORD_KEY: content}))


def read_kfp_config(kubectl: Kubectl) -> str:
    """Return the text of the API server's config.json (RunError: it cannot be read)."""
    container = f"--container={CONFIG_FILE.container}"
    return kubectl.run("exec", API_SERVER, container, "--", "cat", CONFIG_FILE.key)


def _new_object(reference: str, data: Mapping[str, str]) -> Object:
    kind, _, name = reference.partition("/")
    labels = {} if reference == KFP_SECRET else {"app.kubernetes.io/part-of": "q-chunking"}
    return {
        "apiVersion": "v1",
        "kind": "Secret" if kind == "secret" else "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": {key: value for key, value in data.items() if value is not None},
    }


def _wait_for_servers(kubectl: Kubectl) -> None:
    for reference in _DEPLOYMENTS:
        kubectl.wait_for_rollout(reference.partition("/")[2], _ROLLOUT_SECONDS)
    kubectl.raw(_HEALTH.format(kubectl.namespace))


def _field_of(entry: Object) -> Field:
    return Field(entry["reference"], entry["key"], entry["container"])


def _shown(value: Any) -> str:
    """Return a value for people: text, the value of a variable, or where a variable is read."""
    if value is None:
        return ""
    if isinstance(value, str):
        return as_mapping_text(value)
    return str(value["value"]) if "value" in value else f"from {json.dumps(value['valueFrom'])}"
