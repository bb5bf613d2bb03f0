"""Finds the address of the KFP server and the token for it.

`KFP_ENDPOINT` is the address. Without it, a pod uses the server of its own cluster, and a machine
with a kubeconfig uses a port-forward into the cluster.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.port_forward import SERVICE_PORT, port_forward
from qc_core.errors import UsageError

# Kubernetes mounts this file into every pod.
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
# KFP's manifests project a pod's token for KFP to this file, unless the variable names another.
_TOKEN_FILE_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"
_TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach a KFP server.

    Attributes:
        api: base URL of the API.
        ui: base URL of the web pages; None if this machine cannot reach them.
        read_token: returns the current bearer token; None sends no token.
        ca_file: certificates to trust instead of the system's.
        own_namespace: namespace of the pod that this process runs in, if any.
    """

    api: str
    ui: str | None
    read_token: Callable[[], str] | None
    ca_file: str | None
    own_namespace: str | None


@contextmanager
def find_address(endpoint: str | None) -> Iterator[Address]:
    """Yield the server's address; a port-forward ends with the block.

    Args:
        endpoint: URL that overrides `KFP_ENDPOINT`.

    Raises:
        UsageError: no server is named, or a setting is invalid.
        RunError: the port-forward failed.
    """
    endpoint = endpoint or os.environ.get("KFP_ENDPOINT")
    system_namespace = os.environ.get("KFP_NAMESPACE", "kubeflow")
    read_token, ca_file = _find_token(), _find_ca_file()
    own_namespace = _OWN_NAMESPACE.read_text().strip() if _OWN_NAMESPACE.exists() else None
    if endpoint:
        base = _validated(endpoint)
        yield Address(base, base, read_token, ca_file, own_namespace)
    elif os.environ.get("KUBERNETES_SERVICE_HOST"):
        base = f"http://ml-pipeline.{system_namespace}.svc.cluster.local:{SERVICE_PORT}"
        yield Address(base, None, read_token, ca_file, own_namespace)
    elif _has_kubeconfig():
        with port_forward(system_namespace) as base:
            yield Address(base, None, read_token, ca_file, own_namespace)
    else:
        raise UsageError(
            "no KFP server is named: set KFP_ENDPOINT to http(s)://host[:port], or KUBECONFIG to "
            "connect through a port-forward"
        )


def _validated(endpoint: str) -> str:
    """Return the endpoint without a trailing slash (UsageError: it is not a base URL)."""
    expected = "KFP_ENDPOINT must be http(s)://host[:port][/path]"
    try:
        parts = urlsplit(endpoint)
        # Raises ValueError if it is not a port number.
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"{expected}: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"{expected} without user and password; set KFP_TOKEN to a token")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{expected}, got {endpoint}")
    if parts.query or parts.fragment:
        raise UsageError(f"{expected} without ? or #, got {endpoint}")
    return endpoint.rstrip("/")


def _find_token() -> Callable[[], str] | None:
    token = os.environ.get("KFP_TOKEN", "").strip()
    if token:
        if not token.isascii() or not token.isprintable() or " " in token:
            raise UsageError("KFP_TOKEN must be the bare token, one word, without `Bearer`")
        return lambda: token
    path = Path(os.environ.get(_TOKEN_FILE_VARIABLE, _TOKEN_FILE))
    if not path.exists():
        return None

    def read() -> str:
        # The kubelet renews the file before the token expires, so each request reads it.
        try:
            return path.read_text().strip()
        except OSError as error:
            raise UsageError(f"cannot read the KFP token {path}: {error.strerror}") from error

    return read


def _find_ca_file() -> str | None:
    path = os.environ.get("KFP_CA_FILE")
    if path and not Path(path).is_file():
        raise UsageError(f"KFP_CA_FILE must be a file, got {path}")
    return path or None


def _has_kubeconfig() -> bool:
    paths = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    return any(Path(path).is_file() for path in paths.split(os.pathsep) if path)
