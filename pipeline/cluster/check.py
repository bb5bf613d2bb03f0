"""Inspects a KFP installation line by line: what is right, what is wrong, and what corrects it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from components.image import TRAIN_IMAGE
from pipeline.cluster.connect import (
    TESTED_VERSION,
    read_kfp_config,
    ready_addresses,
    require_objects,
)
from pipeline.cluster.fields import Field
from pipeline.cluster.kfp_settings import (
    DEFAULT_ACCOUNT,
    INSTALLATION,
    KEYS,
    KFP_SECRET,
    MLFLOW_SERVICE,
    REQUIRED,
    RETRIES,
    STORE_SECRET,
    WORKFLOW_DEFAULTS,
    kfp_version,
    logs_agree,
    store_address,
    store_settings,
)
from pipeline.cluster.kubectl import Forbidden, Kubectl, Object, Objects
from pipeline.cluster.quantities import fitting_pods
from pipeline.placement import Secrets
from pipeline.trigger import TIME_ZONE_VARIABLE, server_zone
from qc_core.errors import RunError

RIGHT, WRONG, UNKNOWN = "ok", "WRONG", "?"
_CONNECT = "qc cluster connect"
_APPLY = "kubectl apply -k manifests/overlays/local (or your overlay)"
_ACCOUNT = "serviceaccount/q-chunking-runner"
# Keys of the Secrets that steps receive beside the store's; only the study's must exist.
_SECRETS = {
    "study": ("url", "password"),
    "webhook": ("url",),
    "signing": ("path", "private.pem"),
    "data": ("accesskey", "secretkey"),
}
_POLICIES = ("default-deny", "name-lookup", "steps", "study")
_PLACES = {
    "deployment/ml-pipeline": "API server",
    "deployment/ml-pipeline-ui": "web pages",
    "configmap/workflow-controller-configmap": "Argo's logs",
    "configmap/kfp-launcher": "launcher",
}


class Finding(NamedTuple):
    """One line of the result.

    Attributes:
        state: `RIGHT`, `WRONG`, or `UNKNOWN` if it could not be checked or is only a note.
        fix: what corrects it; empty if nothing has to be done.
    """

    state: str
    topic: str
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """The training pods of a run.

    Attributes:
        workers: pods at once.
        requests: of one pod, quantities by resource.
        gpu_type: resource name under which nodes offer their GPUs.
        secrets: names of the Secrets that pods receive.
    """

    name: str
    workers: int
    requests: dict[str, str]
    gpu_type: str
    secrets: Secrets
    selector: dict[str, str]
    tolerations: list[Object]


def check_cluster(kubectl: Kubectl, need: Need, image: str = TRAIN_IMAGE) -> Iterator[Finding]:
    """Yield the findings; nothing is changed.

    Raises:
        UsageError: there is no KFP, or no product, in the namespace.
    """
    secrets: dict[str, tuple[str, ...]] = {}
    for name, keys in _SECRETS.items():
        reference = f"secret/{getattr(need.secrets, name)}"
        # Options may name the same Secret.
        secrets[reference] = (*secrets.get(reference, ()), *keys)
    objects = kubectl.get(*REQUIRED, INSTALLATION, KFP_SECRET, *secrets, _ACCOUNT, MLFLOW_SERVICE)
    require_objects(objects, kubectl.namespace)
    checks: Sequence[Callable[[], Iterator[Finding]]] = (
        lambda: _version(objects),
        lambda: _store(kubectl, objects),
        lambda: _argo(objects),
        lambda: _logs(objects),
        lambda: _account(objects),
        lambda: _secrets(objects, secrets, f"secret/{need.secrets.study}"),
        lambda: _time_zone(objects),
        lambda: _network(kubectl),
        lambda: _mlflow(kubectl, objects),
        lambda: _nodes(kubectl, need, image),
    )
    for check in checks:
        try:
            yield from check()
        except Forbidden as error:
            yield Finding(UNKNOWN, "rights", str(error))


def _version(objects: Objects) -> Iterator[Finding]:
    version = kfp_version(objects)
    state = RIGHT if version.startswith(TESTED_VERSION) else UNKNOWN
    yield Finding(state, "KFP", f"version {version} (tested with {TESTED_VERSION})")


def _store(kubectl: Kubectl, objects: Objects) -> Iterator[Finding]:
    address = store_address(objects, kubectl.namespace)
    different: dict[str, list[str]] = {reference: [] for reference in _PLACES}
    for field, wanted in store_settings(address):
        current = field.read(objects)
        if wanted(current) != current:
            different[field.reference].append(field.key)
    for reference, place in _PLACES.items():
        if keys := different[reference]:
            text = f"does not use {address.endpoint}: {', '.join(keys)} of {reference}"
            yield Finding(WRONG, place, text, _CONNECT)
        else:
            yield Finding(RIGHT, place, f"uses {address.endpoint}, bucket {address.bucket}")
    ours, theirs = (
        [Field(secret, key).read(objects) for key in KEYS] for secret in (STORE_SECRET, KFP_SECRET)
    )
    if ours == theirs:
        yield Finding(RIGHT, "keys", f"{KFP_SECRET} has the keys of {STORE_SECRET}")
    else:
        yield Finding(WRONG, "keys", f"{KFP_SECRET} differs from {STORE_SECRET}", _CONNECT)
    if not address.service:
        yield Finding(
            UNKNOWN, "store", f"{address.endpoint} is outside the cluster: --run tries it"
        )
    elif ready_addresses(kubectl, address.service):
        yield Finding(RIGHT, "store", f"Service {address.service} has a ready pod")
    else:
        fix = f"kubectl -n {kubectl.namespace} describe pod -l app.kubernetes.io/component=store"
        yield Finding(WRONG, "store", f"Service {address.service} has no ready pod", fix)


def _argo(objects: Objects) -> Iterator[Finding]:
    text = WORKFLOW_DEFAULTS.read(objects)
    spec: Any = (yaml.safe_load(text or "") or {}).get("spec") or {}
    retries = (spec.get("templateDefaults") or {}).get("retryStrategy") or {}
    shown = ", ".join(f"{key} {value}" for key, value in retries.items()) or "none"
    if {key: str(value) for key, value in retries.items()} == RETRIES:
        yield Finding(RIGHT, "retries", f"{shown}: failed steps and lost pods are repeated")
    else:
        lost = "failed steps" if retries.get("retryPolicy") == "OnError" else "lost pods"
        yield Finding(WRONG, "retries", f"{shown}: {lost} are not repeated", _CONNECT)
    if ttl := (spec.get("ttlStrategy") or {}).get("secondsAfterCompletion"):
        yield Finding(RIGHT, "workflows", f"are removed {int(ttl) / 3600:g} hours after their end")
    else:
        yield Finding(WRONG, "workflows", "are never removed, nor are their pods", _CONNECT)


def _logs(objects: Objects) -> Iterator[Finding]:
    if logs_agree(objects):
        yield Finding(RIGHT, "logs", "KFP's pages find those of pods that are gone")
    else:
        text = "KFP's pages look for those of pods that are gone where Argo does not store them"
        yield Finding(WRONG, "logs", text, _CONNECT)


def _account(objects: Objects) -> Iterator[Finding]:
    if _ACCOUNT not in objects:
        yield Finding(WRONG, "account", f"{_ACCOUNT} is missing", _APPLY)
    else:
        yield Finding(RIGHT, "account", f"{_ACCOUNT} exists")
    default = (DEFAULT_ACCOUNT.read(objects) or {}).get("value") or "pipeline-runner"
    if f"serviceaccount/{default}" == _ACCOUNT:
        yield Finding(RIGHT, "form", f"runs from KFP's form use {default}")
    else:
        text = f"runs from KFP's form use {default}, unless a person names another account there"
        yield Finding(UNKNOWN, "form", text, f"{_CONNECT} --default-account")


def _secrets(
    objects: Objects, secrets: Mapping[str, Sequence[str]], required: str
) -> Iterator[Finding]:
    for reference, keys in secrets.items():
        missing = [key for key in keys if not Field(reference, key).read(objects)]
        if reference not in objects and reference != required:
            yield Finding(RIGHT, "secrets", f"{reference} does not exist and need not")
        elif missing:
            text = f"{reference} has no {' and no '.join(missing)}"
            yield Finding(WRONG, "secrets", text, "create it as docs/cluster/installing.md says")
        else:
            yield Finding(RIGHT, "secrets", f"{reference} has {' and '.join(keys)}")


def _time_zone(objects: Objects) -> Iterator[Finding]:
    data = objects.get(INSTALLATION, {}).get("data") or {}
    zone = data.get("cronScheduleTimezone") or "UTC"
    if zone == server_zone():
        yield Finding(RIGHT, "schedules", f"times are in {zone}")
    else:
        text = f"times are in {zone}, but qc shows them as {server_zone()}"
        yield Finding(WRONG, "schedules", text, f"export {TIME_ZONE_VARIABLE}={zone}")


def _network(kubectl: Kubectl) -> Iterator[Finding]:
    names = {policy["metadata"]["name"] for policy in kubectl.list("networkpolicies")}
    missing = [name for name in _POLICIES if f"q-chunking-{name}" not in names]
    if missing:
        text = f"policies {', '.join(missing)} are missing: steps may connect anywhere"
        yield Finding(UNKNOWN, "network", text, _APPLY)
    else:
        yield Finding(RIGHT, "network", "the policies exist; the cluster's network enforces them?")


def _mlflow(kubectl: Kubectl, objects: Objects) -> Iterator[Finding]:
    try:
        config = json.loads(read_kfp_config(kubectl))
    except Forbidden:
        raise
    except (RunError, ValueError) as error:
        yield Finding(UNKNOWN, "MLflow", f"KFP's config.json cannot be read: {error}")
        return
    mlflow = (config.get("plugins") or {}).get("mlflow") or {}
    endpoint = mlflow.get("endpoint")
    own = MLFLOW_SERVICE.partition("/")[2]
    if MLFLOW_SERVICE in objects and own not in (endpoint or ""):
        yield Finding(WRONG, "MLflow", f"{own} runs, but KFP does not use it", _CONNECT)
        return
    if not endpoint:
        yield Finding(RIGHT, "MLflow", "is not configured")
        return
    host, timeout = urlsplit(endpoint).hostname or "", mlflow.get("timeout") or "60s"
    service, _, rest = host.partition(".")
    namespace = rest.partition(".")[0] or kubectl.namespace
    if rest and ".svc" not in f".{rest}" and "." in rest:
        yield Finding(UNKNOWN, "MLflow", f"{endpoint} is outside the cluster and was not tried")
    elif ready_addresses(Kubectl(namespace), service):
        yield Finding(RIGHT, "MLflow", f"{endpoint} has a ready pod")
    else:
        text = f"{endpoint} does not answer: each start of a run waits for it, up to {timeout}"
        fix = (
            "remove plugins.mlflow from the API server's /config/config.json, or start that server"
        )
        yield Finding(WRONG, "MLflow", text, fix)


def _nodes(kubectl: Kubectl, need: Need, image: str) -> Iterator[Finding]:
    nodes = kubectl.list("nodes")
    names = {
        name for node in nodes for i in node["status"].get("images") or () for name in i["names"]
    }
    if image in names:
        yield Finding(RIGHT, "image", f"{image} is on a node")
    elif image.startswith("localhost/"):
        text = f"{image} is on no node, and localhost is no registry"
        yield Finding(WRONG, "image", text, "load it into the nodes, or set QC_IMAGE_REGISTRY")
    else:
        yield Finding(UNKNOWN, "image", f"{image} is on no node yet: --run pulls it")
    yield from _gpus(nodes, need.gpu_type)
    pods = kubectl.list("pods", "--all-namespaces")
    fit = fitting_pods(nodes, pods, need.requests, need.selector, need.tolerations)
    size = ", ".join(f"{name} {value}" for name, value in need.requests.items() if value != "0")
    text = f"{fit} training pods fit now ({size} each); {need.name} runs {need.workers} at once"
    if fit >= need.workers:
        yield Finding(RIGHT, "room", text)
    else:
        fix = (
            "request less with --input resources_cpus=… or resources_memory=…, add nodes, or "
            "expect waiting steps"
        )
        yield Finding(UNKNOWN if fit else WRONG, "room", text, fix)


def _gpus(nodes: Sequence[Object], gpu_type: str) -> Iterator[Finding]:
    for node in nodes:
        count = node["status"]["allocatable"].get(gpu_type, "0")
        if count == "0":
            continue
        labels = node["metadata"].get("labels", {})
        shown = [f"{k}={v}" for k, v in labels.items() if "kubernetes.io" not in k]
        taints = [f"{t['key']}:{t['effect']}" for t in node["spec"].get("taints", ())]
        text = f"node {node['metadata']['name']} offers {count} {gpu_type}"
        text += f", labels {' '.join(shown) or 'none'}, taints {' '.join(taints) or 'none'}"
        yield Finding(RIGHT, "GPU", text)
