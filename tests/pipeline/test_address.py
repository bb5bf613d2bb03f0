"""The KFP server's address is found, and a port-forward lasts as long as its use."""

import os
import shutil
import sys
import textwrap
from pathlib import Path

import pytest

from pipeline import address
from pipeline.address import find_address
from pipeline.port_forward import port_forward
from qc_core.cli.main import main
from qc_core.errors import RunError, UsageError
from tests.pipeline.kfp_server import KFP, answer

pytestmark = pytest.mark.usefixtures("no_cluster")

# Listens and prints like kubectl.
KUBECTL = """\
#!{python}
import os, socket, sys, threading
open(os.environ["KUBECTL_LOG"], "a").write(f"{{os.getpid()}} {{' '.join(sys.argv[1:])}}\\n")
listener = socket.create_server(("127.0.0.1", 0))
print(f"Forwarding from 127.0.0.1:{{listener.getsockname()[1]}} -> 8888", flush=True)

def copy(source, target):
    while block := source.recv(65536):
        target.sendall(block)
    target.shutdown(socket.SHUT_WR)

while True:
    here, _ = listener.accept()
    there = socket.create_connection(("127.0.0.1", int(os.environ["KFP_PORT"])))
    for pair in ((here, there), (there, here)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""


@pytest.fixture
def kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Kubeconfig of a cluster that does not answer."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        textwrap.dedent("""\
            apiVersion: v1
            kind: Config
            clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
            contexts: [{name: c, context: {cluster: c, user: u}}]
            users: [{name: u, user: {}}]
            current-context: c
        """)
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def test_missing_address_is_an_error_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", "list"]) == 2
    assert "no KFP server is named: set KFP_ENDPOINT" in capsys.readouterr().err


@pytest.mark.parametrize(
    "endpoint",
    [
        "kfp.example.org",
        "ftp://kfp.example.org",
        "http://",
        "http://host:port",
        "https://host/#/runs",
        "https://host/?ns=anna",
    ],
)
def test_invalid_address_is_refused(endpoint: str) -> None:
    with pytest.raises(UsageError, match=r"KFP_ENDPOINT must be http\(s\)"), find_address(endpoint):
        pass


def test_password_in_the_address_is_refused_and_not_printed() -> None:
    with (
        pytest.raises(UsageError, match="without user and password") as refused,
        find_address("https://anna:hunter2@host"),
    ):
        pass
    assert "hunter2" not in str(refused.value)


def test_path_of_the_address_is_used(kfp: KFP) -> None:
    kfp.fail("GET", "^/pipeline/apis/v2beta1/healthz$", answer(200, '{"multi_user": false}'))
    kfp.fail("GET", "^/pipeline/apis/v2beta1/pipelines/names/q-chunking$", answer(404, "{}"))
    assert main(["schedule", "list", "--endpoint", f"{kfp.url}/pipeline/"]) == 0
    assert all(" /pipeline/apis/" in request for request in kfp.requests)


def test_pod_uses_the_server_of_its_cluster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    namespace = tmp_path / "namespace"
    namespace.write_text("anna\n")
    monkeypatch.setattr(address, "_OWN_NAMESPACE", namespace)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KFP_NAMESPACE", "kfp")
    with find_address(None) as found:
        assert found.api == "http://ml-pipeline.kfp.svc.cluster.local:8888"
        assert found.own_namespace == "anna" and found.ui is None


@pytest.mark.parametrize("token", ["Bearer abc", "two\nlines", "größe"])
def test_invalid_token_is_refused_and_not_printed(
    monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("KFP_TOKEN", token)
    with pytest.raises(UsageError, match="the bare token") as refused, find_address("http://host"):
        pass
    assert token not in str(refused.value)


def test_port_forward_is_used_with_a_kubeconfig_and_ends_with_the_command(
    kfp: KFP,
    kubeconfig: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir()
    kubectl.write_text(KUBECTL.format(python=sys.executable))
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{kubectl.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KUBECTL_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("KFP_PORT", kfp.url.rpartition(":")[2])
    monkeypatch.delenv("KFP_ENDPOINT")
    assert main(["submit", "smoke"]) == 0
    (run_id,) = kfp.runs
    # The forwarded port has closed when the user opens the page.
    assert f"page     /#/runs/details/{run_id}\n" in capsys.readouterr().out
    (line,) = (tmp_path / "log").read_text().splitlines()
    process, _, arguments = line.partition(" ")
    assert arguments == (
        "port-forward --address 127.0.0.1 --namespace kubeflow service/ml-pipeline :8888"
    )
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_error_of_kubectl_is_one_line(kubeconfig: Path) -> None:
    with pytest.raises(RunError, match=r"The connection to the server .* was refused"):
        port_forward("kubeflow").__enter__()


def test_missing_kubectl_is_an_error_with_a_remedy(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["schedule", "list"]) == 2
    assert "kubectl is not installed" in capsys.readouterr().err


def test_kubectl_that_does_not_connect_is_ended(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "kubectl").write_text("#!/bin/sh\nexec sleep 1000\n")
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(RunError, match=r"did not connect within 0\.05 s"):
        port_forward("kubeflow", start_timeout_seconds=0.05).__enter__()
