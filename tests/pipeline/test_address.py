"""Where the KFP server is looked for, and a port-forward that begins and ends with its use."""

import os
import shutil
import sys
import textwrap
from pathlib import Path

import pytest

from pipeline import address, port_forward
from pipeline.address import find_address
from qc_core.cli.main import main
from qc_core.errors import RunError, UsageError
from tests.pipeline.kfp_server import KFP, answer

pytestmark = pytest.mark.usefixtures("no_cluster")

# Listens as kubectl does, and says so in its words.
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
    """Of a cluster where nobody answers."""
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


def test_without_any_server_it_says_how_to_name_one(
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
def test_what_is_no_address_is_refused(endpoint: str) -> None:
    with pytest.raises(UsageError, match=r"KFP_ENDPOINT is http\(s\)"), find_address(endpoint):
        pass


def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    with (
        pytest.raises(UsageError, match="without user and password") as refused,
        find_address("https://anna:hunter2@host"),
    ):
        pass
    assert "hunter2" not in str(refused.value)


def test_a_path_before_the_api_is_kept(kfp: KFP) -> None:
    kfp.fail("GET", "^/pipeline/apis/v2beta1/healthz$", answer(200, '{"multi_user": false}'))
    kfp.fail("GET", "^/pipeline/apis/v2beta1/pipelines/names/q-chunking$", answer(404, "{}"))
    assert main(["schedule", "list", "--endpoint", f"{kfp.url}/pipeline/"]) == 0
    assert len(kfp.requests) == 2


def test_a_pod_asks_the_server_of_its_cluster(
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
def test_a_token_that_is_none_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("KFP_TOKEN", token)
    with pytest.raises(UsageError, match="the bare token") as refused, find_address("http://host"):
        pass
    assert token not in str(refused.value)


def test_a_kubeconfig_reaches_in_through_a_port_forward_that_ends_with_the_command(
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
    # The forwarded port is gone when a person looks.
    assert f"page     /#/runs/details/{run_id}\n" in capsys.readouterr().out
    (line,) = (tmp_path / "log").read_text().splitlines()
    process, _, words = line.partition(" ")
    assert words == (
        "port-forward --address 127.0.0.1 --namespace kubeflow service/ml-pipeline :8888"
    )
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")
def test_what_kubectl_says_is_one_line(kubeconfig: Path) -> None:
    with pytest.raises(RunError, match=r"The connection to the server .* was refused"):
        port_forward.port_forward("kubeflow").__enter__()


def test_without_kubectl_it_says_what_to_install(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["schedule", "list"]) == 2
    assert "kubectl is not installed" in capsys.readouterr().err


def test_a_kubectl_that_waits_for_ever_is_ended(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "kubectl").write_text("#!/bin/sh\nexec sleep 1000\n")
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(port_forward, "_SECONDS_TO_BEGIN", 0.05)
    with pytest.raises(RunError, match="kubectl did not say why"):
        port_forward.port_forward("kubeflow").__enter__()
