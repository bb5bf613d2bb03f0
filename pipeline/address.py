"""Where the KFP server is, and the token that opens it.

KFP_ENDPOINT names it. Without that, a pod asks the server of its own cluster, and a machine with a
kubeconfig reaches into the cluster through a port-forward.
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

# Where Kubernetes tells a pod about itself.
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
# Where KFP's manifests project a pod's token for KFP, unless the variable says otherwise.
_TOKEN_FILE_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"
_TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach a KFP server.

    Attributes:
        api: base of its API's addresses.
        ui: base of its pages' addresses, if they can be reached from here.
        read_token: gives the bearer token of the moment; None asks without one.
        ca_file: certificates to trust instead of the usual ones.
        own_namespace: of the pod that asks, if a pod asks.
    """

    api: str
    ui: str | None
    read_token: Callable[[], str] | None
    ca_file: str | None
    own_namespace: str | None


@contextmanager
def find_address(endpoint: str | None) -> Iterator[Address]:
    """Give the server's address for as long as it holds: a port-forward ends with it.

    Args:
        endpoint: instead of KFP_ENDPOINT.
    """
    endpoint = endpoint or os.environ.get("KFP_ENDPOINT")
    system_namespace = os.environ.get("KFP_NAMESPACE", "kubeflow")
    read_token, ca_file = _find_token(), _find_ca_file()
    own_namespace = _OWN_NAMESPACE.read_text().strip() if _OWN_NAMESPACE.exists() else None
    if endpoint:
        base = _checked(endpoint)
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
            "reach into a cluster"
        )


def _checked(endpoint: str) -> str:
    form = "KFP_ENDPOINT is http(s)://host[:port][/path]"
    try:
        parts = urlsplit(endpoint)
        # Raises for what is no port.
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"{form}: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"{form}, without user and password: KFP_TOKEN takes a token")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{form}, got {endpoint}")
    if parts.query or parts.fragment:
        raise UsageError(f"{form}, without what follows ? or #, got {endpoint}")
    return endpoint.rstrip("/")


def _find_token() -> Callable[[], str] | None:
    token = os.environ.get("KFP_TOKEN", "").strip()
    if token:
        if not token.isascii() or not token.isprintable() or " " in token:
            raise UsageError("KFP_TOKEN is the bare token, one word, without `Bearer`")
        return lambda: token
    path = Path(os.environ.get(_TOKEN_FILE_VARIABLE, _TOKEN_FILE))
    if not path.exists():
        return None

    def read() -> str:
        # The kubelet replaces it before it runs out, so it is read for every request.
        try:
            return path.read_text().strip()
        except OSError as error:
            raise UsageError(f"cannot read KFP's token, {path}: {error.strerror}") from error

    return read


def _find_ca_file() -> str | None:
    path = os.environ.get("KFP_CA_FILE")
    if path and not Path(path).is_file():
        raise UsageError(f"KFP_CA_FILE names no file, got {path}")
    return path or None


def _has_kubeconfig() -> bool:
    paths = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    return any(Path(path).is_file() for path in paths.split(os.pathsep) if path)
