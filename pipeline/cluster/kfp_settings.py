"""The settings of Kubeflow Pipelines that make it use the product's store and retry lost steps.

KFP reads and writes its store at four places: the API server, the web pages, Argo (logs) and the
launcher in each step's pod (artifacts). All four must name the same store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from pipeline.cluster.fields import Field
from pipeline.cluster.kubectl import Objects
from qc_core.errors import UsageError

# The product's own objects, which `manifests/` creates.
SETTINGS = "configmap/q-chunking"
STORE_SECRET = "secret/q-chunking-store"
# KFP's objects.
API_SERVER, UI = "deployment/ml-pipeline", "deployment/ml-pipeline-ui"
ARGO, LAUNCHER = "configmap/workflow-controller-configmap", "configmap/kfp-launcher"
INSTALLATION = "configmap/pipeline-install-config"
KFP_SECRET_NAME = "mlpipeline-minio-artifact"
KFP_SECRET = f"secret/{KFP_SECRET_NAME}"
REQUIRED = (SETTINGS, STORE_SECRET, API_SERVER, UI, ARGO, LAUNCHER)

_API_CONTAINER, _UI_CONTAINER = "ml-pipeline-api-server", "ml-pipeline-ui"
KEYS = ("accesskey", "secretkey")
DEFAULT_ACCOUNT = Field(API_SERVER, "DEFAULTPIPELINERUNNERSERVICEACCOUNT", _API_CONTAINER)
WORKFLOW_DEFAULTS = Field(ARGO, "workflowDefaults")
# Argo merges these fields into every template. A step's own limit then applies to lost pods and to
# failed ones; a driver, which has no limit of its own, is not repeated.
RETRIES = {"limit": "0", "retryPolicy": "Always"}
# Without a limit, finished Workflows and their pods stay for ever.
_SECONDS_AFTER_COMPLETION = 86_400
# Where Argo stores logs, and KFP's pages look for those of a pod that is gone. The pages know only
# the pod: they derive a wrong name of the workflow, and take the date of the step for the run's.
_KEY_FORMAT = "private-artifacts/{{workflow.namespace}}/{{pod.name}}"
LOGS_OF_ARGO = Field(ARGO, "artifactRepository")
LOGS_OF_PAGES = Field(UI, "ARGO_KEYFORMAT", _UI_CONTAINER)
# The server of manifests/parts/mlflow, and KFP's configuration with it.
MLFLOW_SERVICE = "service/q-chunking-mlflow"
KFP_CONFIG = "configmap/q-chunking-kfp-config"
CONFIG_TEXT = Field(KFP_CONFIG, "config.json")
CONFIG_FILE = Field(API_SERVER, "/config/config.json", _API_CONTAINER)
# A server that does not answer delays each request of KFP by this time.
_MLFLOW_TIMEOUT = "2s"
_KFP_URL, _MLFLOW_URL = "http://localhost:8080", "http://localhost:5000"
_DEFAULT_REGION = "us-east-1"
_OTHER_REPOSITORIES = ("artifactory", "azure", "gcs", "hdfs", "oss")


class Setting(NamedTuple):
    """A field of KFP, and the value that it must have.

    Attributes:
        wanted: returns that value for the current one; equal values mean nothing to change.
    """

    field: Field
    wanted: Callable[[Any], Any]


class StoreAddress(NamedTuple):
    """Where pods find the store.

    Attributes:
        host: as pods of every namespace resolve it.
        service: name of its Service in KFP's namespace; empty for a store outside.
        bucket: of KFP's artifacts and logs.
    """

    host: str
    port: int
    tls: bool
    region: str
    bucket: str
    service: str

    @property
    def endpoint(self) -> str:
        return f"{self.host}:{self.port}"


def store_address(objects: Objects, namespace: str) -> StoreAddress:
    """Return the address of the store in the product's settings.

    Raises:
        UsageError: `QC_S3_ENDPOINT` is not the address of a store that pods can reach.
    """
    settings = objects[SETTINGS].get("data") or {}
    endpoint = settings.get("QC_S3_ENDPOINT", "")
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host or host in ("localhost", "127.0.0.1"):
        raise UsageError(
            f"QC_S3_ENDPOINT in {SETTINGS} must be http(s)://host[:port] that pods can reach, got "
            f"{endpoint!r}"
        )
    service = "" if "." in host or ":" in host else host
    installation = objects.get(INSTALLATION, {}).get("data") or {}
    return StoreAddress(
        host=f"{host}.{namespace}" if service else host,
        port=parts.port or (443 if parts.scheme == "https" else 80),
        tls=parts.scheme == "https",
        region=settings.get("AWS_REGION") or _DEFAULT_REGION,
        bucket=installation.get("bucketName") or "mlpipeline",
        service=service,
    )


def wanted_settings(
    objects: Objects,
    namespace: str,
    default_account: str | None = None,
    kfp_config: str | None = None,
) -> list[Setting]:
    """Return the settings of KFP for the store and the MLflow that the product's objects name.

    Args:
        kfp_config: the API server's config.json if MLflow is installed.
        default_account: service account of runs that name none, such as those from KFP's form.
    """
    address = store_address(objects, namespace)
    settings = [
        *store_settings(address),
        _fixed(LOGS_OF_PAGES, {"value": _KEY_FORMAT}),
        Setting(WORKFLOW_DEFAULTS, _with_retries),
        *(_secret_key(key, objects) for key in KEYS),
    ]
    if default_account is not None:
        settings.append(_fixed(DEFAULT_ACCOUNT, {"value": default_account}))
    if kfp_config is not None:
        settings += _mlflow_settings(objects, namespace, kfp_config)
    return settings


def logs_agree(objects: Objects) -> bool:
    """Return whether KFP's pages look for logs where Argo stores them."""
    repository = _mapping(LOGS_OF_ARGO.read(objects), LOGS_OF_ARGO)
    pages = LOGS_OF_PAGES.read(objects) or {}
    return (repository.get("s3") or {}).get("keyFormat") == pages.get("value") == _KEY_FORMAT


def _mlflow_settings(objects: Objects, namespace: str, kfp_config: str) -> list[Setting]:
    """Return the settings that let KFP make an MLflow run for each run and step.

    Raises:
        UsageError: another program has replaced KFP's config.json.
    """
    mounted = CONFIG_FILE.read(objects)
    name = KFP_CONFIG.partition("/")[2]
    if mounted not in (None, {"value": name}):
        raise UsageError(
            f"{CONFIG_FILE.key} of {API_SERVER} is mounted from {mounted['value']}: add "
            f"plugins.mlflow there, or delete {MLFLOW_SERVICE}"
        )
    settings = objects[SETTINGS].get("data") or {}
    plugin = {
        "endpoint": f"http://{MLFLOW_SERVICE.partition('/')[2]}.{namespace}:5000",
        "timeout": _MLFLOW_TIMEOUT,
        "settings": {
            "authType": "none",
            "workspacesEnabled": False,
            "injectUserEnvVars": True,
            "defaultExperimentName": "q-chunking",
            "kfpBaseURL": settings.get("QC_KFP_URL") or _KFP_URL,
            "mlflowBaseURL": settings.get("QC_MLFLOW_URL") or _MLFLOW_URL,
        },
    }
    try:
        content = json.loads(kfp_config)
    except ValueError as error:
        raise UsageError(f"{CONFIG_FILE.key} of {API_SERVER} is not JSON: correct it") from error
    content["plugins"] = {**(content.get("plugins") or {}), "mlflow": plugin}
    return [
        _fixed(CONFIG_TEXT, json.dumps(content, indent=2)),
        _fixed(CONFIG_FILE, {"value": name}),
    ]


def store_settings(address: StoreAddress) -> list[Setting]:
    """Return the settings of the four places that use the store."""
    secure = "true" if address.tls else "false"
    api = {
        "OBJECTSTORECONFIG_HOST": address.host,
        "OBJECTSTORECONFIG_PORT": str(address.port),
        "OBJECTSTORECONFIG_SECURE": secure,
    }
    if address.region != _DEFAULT_REGION:
        api["OBJECTSTORECONFIG_REGION"] = address.region
    # KFP sets MINIO_NAMESPACE, which the web pages append to the host.
    ui = {
        "MINIO_HOST": address.service or address.host,
        "MINIO_PORT": str(address.port),
        "MINIO_SSL": secure,
    }
    if not address.service:
        ui["MINIO_NAMESPACE"] = ""
    return [
        *(_fixed(Field(API_SERVER, k, _API_CONTAINER), {"value": v}) for k, v in api.items()),
        *(_fixed(Field(UI, k, _UI_CONTAINER), {"value": v}) for k, v in ui.items()),
        Setting(LOGS_OF_ARGO, partial(_with_repository, address)),
        # With minio:// instead of s3://, the web pages use their own MINIO_ settings.
        _fixed(Field(LAUNCHER, "defaultPipelineRoot"), f"minio://{address.bucket}/v2/artifacts"),
        _merged(Field(LAUNCHER, "providers"), _launcher_provider(address)),
    ]


def _with_repository(address: StoreAddress, text: str | None) -> str:
    """Return Argo's repository of logs with this store, and with its own format of keys."""
    content = _mapping(text, LOGS_OF_ARGO)
    access, secret = KEYS
    s3: dict[str, Any] = {
        "endpoint": address.endpoint,
        "bucket": address.bucket,
        "insecure": not address.tls,
        "accessKeySecret": {"name": KFP_SECRET_NAME, "key": access},
        "secretKeySecret": {"name": KFP_SECRET_NAME, "key": secret},
    }
    if address.region != _DEFAULT_REGION:
        s3["region"] = address.region
    changes = {"archiveLogs": True, "s3": s3, **dict.fromkeys(_OTHER_REPOSITORIES)}
    merged = _merge(content, changes)
    merged["s3"]["keyFormat"] = _KEY_FORMAT
    return _as_text(text, content, merged)


def _launcher_provider(address: StoreAddress) -> Mapping[str, Any]:
    access, secret = KEYS
    default = {
        "endpoint": address.endpoint,
        "region": address.region,
        "disableSSL": not address.tls,
        "forcePathStyle": True,
        "credentials": {
            "fromEnv": False,
            "secretRef": {
                "secretName": KFP_SECRET_NAME,
                "accessKeyKey": access,
                "secretKeyKey": secret,
            },
        },
    }
    return {"minio": {"default": default}}


def _with_retries(text: str | None) -> str:
    """Return Argo's defaults with the retry policy, and a limit for finished Workflows."""
    content = _mapping(text, WORKFLOW_DEFAULTS)
    spec: Any = content.get("spec") or {}
    ttl = spec.get("ttlStrategy") or {"secondsAfterCompletion": _SECONDS_AFTER_COMPLETION}
    # As a whole: an expression or a back-off next to the two fields would change their meaning.
    templates = {**(spec.get("templateDefaults") or {}), "retryStrategy": RETRIES}
    new = {**content, "spec": {**spec, "ttlStrategy": ttl, "templateDefaults": templates}}
    return _as_text(text, content, new)


def _secret_key(key: str, objects: Objects) -> Setting:
    return _fixed(Field(KFP_SECRET, key), Field(STORE_SECRET, key).read(objects))


def _fixed(field: Field, value: Any) -> Setting:
    return Setting(field, lambda _: value)


def _merged(field: Field, changes: Mapping[str, Any]) -> Setting:
    """Return a setting of YAML text that keeps the parts that `changes` does not name."""

    def wanted(text: str | None) -> str:
        content = _mapping(text, field)
        return _as_text(text, content, _merge(content, changes))

    return Setting(field, wanted)


def _merge(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings key by key; None removes a key."""
    result = dict(content)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            old = result.get(key)
            result[key] = _merge(old if isinstance(old, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def _mapping(text: str | None, field: Field) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text or "") or {}
    except yaml.YAMLError as error:
        raise _not_a_mapping(field) from error
    if not isinstance(content, dict):
        raise _not_a_mapping(field)
    return content


def _not_a_mapping(field: Field) -> UsageError:
    return UsageError(f"{field.key} in {field.reference} is not a YAML mapping: correct it first")


def _as_text(text: str | None, content: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the old text, with its comments, if the content is the same."""
    if text is not None and content == new:
        return text
    return _dump(new)


def as_mapping_text(text: str) -> str:
    """Return a YAML mapping without comments and in one style, and any other text unchanged."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return _dump(content) if isinstance(content, dict) else text


def _dump(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False, width=1000)


def kfp_version(objects: Objects) -> str:
    """Return the version of KFP's API server by the tag of its image, `?` if it has no tag."""
    for container in objects[API_SERVER]["spec"]["template"]["spec"]["containers"]:
        if container["name"] == _API_CONTAINER:
            tag = re.search(r":([^:/@]+)(@|$)", container["image"])
            return tag[1] if tag else "?"
    return "?"
