"""`qc cluster check` finds what is wrong, names what corrects it, and changes nothing."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from components.image import TRAIN_IMAGE
from pipeline.cluster.quantities import fitting_pods
from qc_core.cli.main import main
from qc_core.config.resources import training_memory
from tests.manifests.rendering import needs_kubectl, render
from tests.pipeline.cluster.fake_cluster import Cluster

pytestmark = needs_kubectl

CHECK = ["cluster", "check"]
SMOKE_MEMORY = training_memory("smoke", "2")
MLFLOW = {"plugins": {"mlflow": {"endpoint": "http://mlflow.tools.svc:5000", "timeout": "60s"}}}


def node(name: str, cpu: str, memory: str, **fields: Any) -> dict[str, Any]:
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": fields.get("labels", {})},
        "spec": {"taints": fields.get("taints", [])},
        "status": {
            "allocatable": {"cpu": cpu, "memory": memory, **fields.get("more", {})},
            "images": [{"names": [TRAIN_IMAGE]}],
        },
    }


@pytest.fixture
def good(cluster: Cluster) -> Cluster:
    """A cluster in which nothing is wrong."""
    for content in render("overlays/local"):
        if content["kind"] in ("NetworkPolicy", "ServiceAccount"):
            cluster.put(copy.deepcopy(content))
    text = "eA=="
    cluster.put(
        {
            "kind": "Secret",
            "metadata": {"name": "q-chunking-study"},
            "data": {"url": text, "password": text},
        }
    )
    cluster.put(node("big", "16", "64Gi"))
    assert main(["cluster", "connect", "--default-account"]) == 0
    cluster.commands.clear()
    return cluster


def findings(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, str]]:
    """The findings that are not right, by topic; checks the exit code."""
    capsys.readouterr()
    code = main([*CHECK, "--json", *arguments])
    found = json.loads(capsys.readouterr().out)
    assert code == any(finding["state"] == "WRONG" for finding in found)
    return {finding["topic"]: finding for finding in found if finding["state"] != "ok"}


def test_connected_cluster_is_right_and_is_not_changed(
    good: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    before = good.copy()
    assert findings(capsys) == {}
    assert good.objects == before and not good.changes()


def test_cluster_that_is_not_connected_needs_one_command(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.put(node("big", "16", "64Gi"))
    found = findings(capsys)
    for topic in ("API server", "web pages", "Argo's logs", "launcher", "keys", "retries"):
        assert found[topic]["fix"] == "qc cluster connect", topic
    assert "failed steps are not repeated" in found["retries"]["text"]
    assert found["form"]["fix"] == "qc cluster connect --default-account"
    assert "has no url and no password" in found["secrets"]["text"]
    assert main(CHECK) == 1
    assert "WRONG  retries" in capsys.readouterr().out


def removed(reference: str) -> Callable[[Cluster], object]:
    return lambda cluster: cluster.objects.pop(reference)


def changed(reference: str, key: str, text: str) -> Callable[[Cluster], object]:
    return lambda cluster: cluster.data(reference).update({key: text})


@pytest.mark.parametrize(
    ("damage", "topic", "expected"),
    [
        (
            changed("configmap/workflow-controller-configmap", "workflowDefaults", ""),
            "workflows",
            "are never removed",
        ),
        (
            changed("configmap/workflow-controller-configmap", "workflowDefaults", ""),
            "retries",
            "none: lost pods are not repeated",
        ),
        (
            changed("configmap/kfp-launcher", "defaultPipelineRoot", "minio://other/x"),
            "launcher",
            "defaultPipelineRoot of configmap/kfp-launcher",
        ),
        (changed("secret/q-chunking-store", "secretkey", "bmV3"), "keys", "differs from"),
        (
            changed("configmap/pipeline-install-config", "cronScheduleTimezone", "Europe/Rome"),
            "schedules",
            "times are in Europe/Rome, but qc shows them as UTC",
        ),
        (removed("serviceaccount/q-chunking-runner"), "account", "is missing"),
        (removed("networkpolicy/q-chunking-steps"), "network", "policies steps are missing"),
        (removed("endpointslice/q-chunking-minio"), "store", "has no ready pod"),
        (removed("node/big"), "image", "is on no node, and localhost is no registry"),
        (removed("node/big"), "room", "0 training pods fit now"),
        (
            lambda cluster: cluster.put(node("big", "3", "64Gi")),
            "room",
            f"1 training pods fit now (cpu 2, memory {SMOKE_MEMORY} each); smoke runs 2 at once",
        ),
        (
            lambda cluster: cluster.kfp_config.update(MLFLOW),
            "MLflow",
            "each start of a run waits for it, up to 60s",
        ),
        (
            lambda cluster: cluster.refused.update(
                {"exec": "Error from server (Forbidden): pods is forbidden"}
            ),
            "rights",
            "this account may not do that",
        ),
    ],
)
def test_each_fault_is_found(
    good: Cluster,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Cluster], object],
    topic: str,
    expected: str,
) -> None:
    good.objects.pop("endpointslice/mlflow", None)
    if topic == "MLflow":
        # The fake has one namespace.
        good.objects.pop("endpointslice/q-chunking-minio")
    damage(good)
    assert expected in findings(capsys)[topic]["text"]


def test_room_counts_gpus_labels_taints_and_what_runs_already(
    good: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    taint = {"key": "nvidia.com/gpu", "effect": "NoSchedule"}
    gpus = {"nvidia.com/gpu": "2"}
    good.put(node("gpu", "8", "64Gi", labels={"pool": "gpu"}, taints=[taint], more=gpus))
    inputs = ["--input", "resources_gpus=1"]
    inputs += ["--input", 'resources_node_selector={"pool": "gpu"}']
    assert "0 training pods fit" in findings(capsys, *inputs)["room"]["text"]
    inputs += ["--tolerate", "nvidia.com/gpu:NoSchedule"]
    assert "room" not in findings(capsys, *inputs)
    requests = {"requests": {"nvidia.com/gpu": "1"}}
    good.put(
        {
            "kind": "Pod",
            "metadata": {"name": "other"},
            "spec": {"nodeName": "gpu", "containers": [{"name": "x", "resources": requests}]},
            "status": {"phase": "Running"},
        }
    )
    assert "1 training pods fit" in findings(capsys, *inputs)["room"]["text"]


def test_run_starts_pods_that_try_the_access_and_removes_them(
    good: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    good.log = "ok\tpod: store\tis writable\nok\tpod: kfp\tanswers\n"
    good.put(node("gpu", "8", "64Gi", more={"nvidia.com/gpu": "2"}))
    assert findings(capsys, "--run", "--input", "resources_gpus=1") == {}
    assert [command[0] for command in good.changes()] == ["create", "delete"] * 2
    good.log = "WRONG\tpod: study\tOperationalError\n"
    found = findings(capsys, "--run")
    assert found["pod: study"]["text"] == "OperationalError"
    assert not [name for name in good.objects if name.startswith("pod/")]


def test_the_secrets_and_gpus_that_the_options_name_are_inspected(
    good: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    mig = "nvidia.com/mig-1g.10gb"
    secret = good.objects.pop("secret/q-chunking-study")
    good.put({**secret, "metadata": {"name": "mine"}})
    good.put(node("gpu", "8", "64Gi", more={mig: "2"}))
    options = ["--study-secret", "mine", "--gpu-type", mig]
    assert findings(capsys, *options, "--run", "--input", "resources_gpus=1") == {}
    # A pod that tries the access, and one with a GPU.
    assert [command[0] for command in good.changes()] == ["create", "delete"] * 2
    assert main([*CHECK, *options]) == 0
    shown = capsys.readouterr().out
    assert "secret/mine has url and password" in shown
    assert f"node gpu offers 2 {mig}" in shown
    options[1] = "missing"
    assert "secret/missing has no url" in findings(capsys, *options)["secrets"]["text"]
    # One Secret for two purposes has the keys of both.
    good.objects["secret/mine"]["data"] = dict.fromkeys(("path", "private.pem"), "eA==")
    shared = findings(capsys, "--study-secret", "mine", "--signing-secret", "mine")
    assert shared["secrets"]["text"] == "secret/mine has no url and no password"


def test_node_that_takes_no_pods_is_not_counted() -> None:
    closed = node("a", "8", "8Gi")
    closed["spec"]["unschedulable"] = True
    assert fitting_pods([closed, node("b", "4", "8Gi")], [], {"cpu": "2"}, {}, []) == 2
