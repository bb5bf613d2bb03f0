"""`qc cluster connect` changes only single settings of KFP, and `disconnect` restores them."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from qc_core.cli.main import main
from tests.manifests.rendering import Object, named, needs_kubectl, pods, render
from tests.pipeline.cluster.conftest import STORE_KEYS
from tests.pipeline.cluster.fake_cluster import Cluster, patched

pytestmark = needs_kubectl

CONNECT, DISCONNECT = ["cluster", "connect"], ["cluster", "disconnect"]
API, UI = "deployment/ml-pipeline", "deployment/ml-pipeline-ui"
ARGO, LAUNCHER = "configmap/workflow-controller-configmap", "configmap/kfp-launcher"
RECORD = "secret/q-chunking-kfp-before"
# Fields of a provider that KFP's launcher reads: backend/src/v2/config/s3.go.
PROVIDER = {"endpoint", "region", "disableSSL", "forcePathStyle", "maxRetries", "credentials"}


def argo_defaults(cluster: Cluster) -> Any:
    return yaml.safe_load(cluster.data(ARGO)["workflowDefaults"])["spec"]


def repository(cluster: Cluster) -> Any:
    return yaml.safe_load(cluster.data(ARGO)["artifactRepository"])


def active_run(cluster: Cluster) -> None:
    cluster.put({"kind": "Workflow", "metadata": {"name": "run-x"}, "status": {"phase": "Running"}})


def test_all_four_places_use_the_store_of_the_manifests(cluster: Cluster) -> None:
    assert main(CONNECT) == 0
    service = named(render("overlays/local"), "Service", "q-chunking-minio")
    (port,) = service["spec"]["ports"]
    host = f"{service['metadata']['name']}.kubeflow"
    address = f"{host}:{port['port']}"

    api, ui = cluster.variables(API), cluster.variables(UI)
    assert (api["OBJECTSTORECONFIG_HOST"], api["OBJECTSTORECONFIG_PORT"]) == (host, "9000")
    assert api["OBJECTSTORECONFIG_SECURE"] == "false"
    # The web pages add the namespace to the host.
    assert "fieldRef" in ui["MINIO_NAMESPACE"] and ui["MINIO_SSL"] == "false"
    assert f"{ui['MINIO_HOST']}.kubeflow:{ui['MINIO_PORT']}" == address

    launcher = cluster.data(LAUNCHER)
    scheme, _, root = launcher["defaultPipelineRoot"].partition("://")
    provider = yaml.safe_load(launcher["providers"])[scheme]["default"]
    assert provider.keys() <= PROVIDER
    assert (provider["endpoint"], provider["disableSSL"]) == (address, True)
    s3 = repository(cluster)["s3"]
    assert (s3["endpoint"], s3["insecure"]) == (address, True)

    (job,) = [p for p in pods(render("overlays/local")) if p.name == "Job/q-chunking-buckets"]
    store = named(render("overlays/local"), "ConfigMap", "q-chunking")["data"]["QC_STORE"]
    needed = {s3["bucket"], root.split("/")[0], store.split("/")[2]}
    assert needed == set(job.containers[0]["command"][3:])


def test_fields_that_are_not_of_the_store_keep_their_values(cluster: Cluster) -> None:
    before = cluster.copy()
    assert main(CONNECT) == 0
    after = cluster.copy()
    assert set(after) - set(before) == {RECORD}
    for reference, content in after.items():
        if reference.startswith(("deployment/", "configmap/")):
            kubernetes_validate.validate(content, "1.32", strict=True)
    for reference in (API, UI):
        restored = copy.deepcopy(after[reference])
        (was,) = before[reference]["spec"]["template"]["spec"]["containers"]
        (now,) = restored["spec"]["template"]["spec"]["containers"]
        assert {e["name"] for e in was["env"]} <= {e["name"] for e in now["env"]}
        now["env"] = was["env"]
        assert restored == before[reference]
    for reference in (ARGO, LAUNCHER):
        assert after[reference]["metadata"] == before[reference]["metadata"]
    assert after[ARGO]["data"]["executor"] == before[ARGO]["data"]["executor"]
    was, now = (yaml.safe_load(o[ARGO]["data"]["artifactRepository"]) for o in (before, after))
    for name in ("endpoint", "keyFormat"):
        assert was["s3"].pop(name) != now["s3"].pop(name)
    assert was == now


def test_retry_policy_is_set_next_to_kfps_limit_for_finished_workflows(cluster: Cluster) -> None:
    was = argo_defaults(cluster)
    assert main(CONNECT) == 0
    now = argo_defaults(cluster)
    assert now["templateDefaults"]["retryStrategy"] == {"limit": "0", "retryPolicy": "Always"}
    assert now["ttlStrategy"] == was["ttlStrategy"]


def test_argo_merges_the_policy_into_steps_and_drivers_field_by_field(cluster: Cluster) -> None:
    """Argo merges `templateDefaults` into each template; what a template has itself counts.

    For an object without lists, Argo's strategic merge is the merge that kubectl performs here.
    """
    assert main(CONNECT) == 0
    defaults = argo_defaults(cluster)["templateDefaults"]
    # What KFP 2.17 writes for `set_retry`, and for a driver.
    backoff = {"duration": "60", "factor": "2", "maxDuration": "1209600"}
    step = {"retryStrategy": {"limit": "5", "backoff": backoff}}
    for template, expected in (
        (step, {"limit": "5", "retryPolicy": "Always", "backoff": backoff}),
        ({}, {"limit": "0", "retryPolicy": "Always"}),
    ):
        workflow = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": "run"},
            "spec": defaults,
        }
        merged = json.loads(patched(json.dumps(workflow), json.dumps({"spec": template}), "merge"))
        assert merged["spec"]["retryStrategy"] == expected


def test_defaults_that_are_missing_get_a_limit_for_finished_workflows(cluster: Cluster) -> None:
    content = copy.deepcopy(cluster.objects[ARGO])
    del content["data"]["workflowDefaults"]
    cluster.put(content)
    assert main(CONNECT) == 0
    assert argo_defaults(cluster)["ttlStrategy"]["secondsAfterCompletion"] > 3600


def test_second_call_changes_nothing(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(CONNECT) == 0
    first, changes = cluster.copy(), cluster.changes()
    capsys.readouterr()
    assert main(CONNECT) == 0
    assert cluster.objects == first and cluster.changes() == changes
    assert "nothing to change" in capsys.readouterr().out


def test_settings_that_an_update_of_kfp_resets_are_set_again(cluster: Cluster) -> None:
    stock = copy.deepcopy(cluster.objects[API])
    assert main(CONNECT) == 0
    cluster.put(stock)
    assert main(CONNECT) == 0
    assert cluster.variables(API)["OBJECTSTORECONFIG_HOST"] == "q-chunking-minio.kubeflow"


def test_disconnect_restores_all_former_values(cluster: Cluster) -> None:
    before = cluster.copy()
    assert main([*CONNECT, "--default-account"]) == 0
    # Another address of the store must not become a former value.
    settings = copy.deepcopy(cluster.objects["configmap/q-chunking"])
    settings["data"]["QC_S3_ENDPOINT"] = "https://s3.example.com"
    cluster.put(settings)
    assert main(CONNECT) == 0
    assert main(DISCONNECT) == 0
    cluster.put(before["configmap/q-chunking"])
    assert sorted_variables(cluster.copy()) == sorted_variables(before)
    assert main(DISCONNECT) == 2


def sorted_variables(objects: dict[str, Object]) -> dict[str, Object]:
    for reference in (API, UI):
        (container,) = objects[reference]["spec"]["template"]["spec"]["containers"]
        container["env"].sort(key=lambda entry: entry["name"])
    return objects


def test_disconnect_leaves_what_others_changed_since(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(CONNECT) == 0
    content = copy.deepcopy(cluster.objects[LAUNCHER])
    content["data"]["defaultPipelineRoot"] = "s3://elsewhere"
    cluster.put(content)
    assert main(DISCONNECT) == 0
    assert cluster.data(LAUNCHER)["defaultPipelineRoot"] == "s3://elsewhere"
    assert "defaultPipelineRoot: was changed since" in capsys.readouterr().out


def test_dry_run_shows_every_change_and_no_secret_and_changes_nothing(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cluster.copy()
    assert main([*CONNECT, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert cluster.objects == before and not cluster.changes()
    assert "cluster test-cluster, namespace kubeflow" in shown
    assert (
        "deployment/ml-pipeline OBJECTSTORECONFIG_HOST: seaweedfs.kubeflow → "
        "q-chunking-minio.kubeflow\n" in shown
    )
    assert "+       retryPolicy: Always" in shown and "-       retryPolicy: OnError" in shown
    assert "secret/mlpipeline-minio-artifact secretkey: replaced (not shown)" in shown
    for secret in ("minio123", *STORE_KEYS.values()):
        assert secret not in shown
    assert main(CONNECT) == 0
    assert all(secret not in str(cluster.commands) for secret in STORE_KEYS.values())


def test_argo_defaults_do_not_change_while_runs_are_active(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cluster.copy()
    active_run(cluster)
    assert main(CONNECT) == 2
    assert "1 runs are active, such as run-x" in capsys.readouterr().err
    cluster.objects.pop("workflow/run-x")
    assert cluster.copy() == before
    active_run(cluster)
    assert main([*CONNECT, "--now"]) == 0
    # Repeating it changes no defaults, so that it is allowed at any time.
    assert main(CONNECT) == 0
    assert main(DISCONNECT) == 2


def test_store_outside_the_cluster_is_used_with_tls_and_its_region(cluster: Cluster) -> None:
    settings = copy.deepcopy(cluster.objects["configmap/q-chunking"])
    settings["data"] |= {"QC_S3_ENDPOINT": "https://s3.example.com", "AWS_REGION": "eu-north-1"}
    cluster.put(settings)
    assert main(CONNECT) == 0
    api, ui = cluster.variables(API), cluster.variables(UI)
    assert api["OBJECTSTORECONFIG_HOST"] == "s3.example.com"
    assert api["OBJECTSTORECONFIG_PORT"] == "443" and api["OBJECTSTORECONFIG_SECURE"] == "true"
    assert api["OBJECTSTORECONFIG_REGION"] == "eu-north-1"
    assert ui["MINIO_HOST"] == "s3.example.com" and ui["MINIO_NAMESPACE"] == ""
    assert repository(cluster)["s3"]["region"] == "eu-north-1"
    assert repository(cluster)["s3"]["insecure"] is False


def test_default_account_is_set_only_on_request(cluster: Cluster) -> None:
    name = "DEFAULTPIPELINERUNNERSERVICEACCOUNT"
    assert main(CONNECT) == 0
    assert name not in cluster.variables(API)
    assert main([*CONNECT, "--default-account"]) == 0
    assert cluster.variables(API)[name] == "q-chunking-runner"
    assert main(CONNECT) == 0
    assert cluster.variables(API)[name] == "q-chunking-runner"


def test_servers_restart_if_only_the_keys_of_the_store_changed(cluster: Cluster) -> None:
    assert main(CONNECT) == 0
    secret = copy.deepcopy(cluster.objects["secret/q-chunking-store"])
    secret["data"]["secretkey"] = "bmV3"
    cluster.put(secret)
    assert main(CONNECT) == 0
    assert len([c for c in cluster.commands if c[:2] == ["rollout", "restart"]]) == 2


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("secret/q-chunking-store", "apply the manifests and create the Secrets first"),
        ("deployment/ml-pipeline", "install Kubeflow Pipelines there"),
        ("endpointslice/q-chunking-minio", "the store does not run"),
    ],
)
def test_missing_object_is_one_line_and_nothing_changes(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], missing: str, expected: str
) -> None:
    cluster.objects.pop(missing)
    before = cluster.copy()
    assert main(CONNECT) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert cluster.copy() == before


def test_interrupted_call_is_completed_by_the_next_one(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cluster.copy()
    denied = 'Error from server (Forbidden): deployments.apps "ml-pipeline-ui" is forbidden'
    cluster.refused["rollout status deployment/ml-pipeline"] = "error: timed out waiting"
    assert main(CONNECT) == 1
    assert "deployment ml-pipeline is not ready after 600 s" in capsys.readouterr().err
    cluster.refused.clear()
    assert main(CONNECT) == 0
    assert main(DISCONNECT) == 0
    assert sorted_variables(cluster.copy()) == sorted_variables(before)
    cluster.refused["patch deployment/ml-pipeline-ui"] = denied
    assert main(CONNECT) == 2
    assert "this account may not do that in the cluster" in capsys.readouterr().err
    assert sorted_variables(cluster.copy()) == sorted_variables(before)


def test_account_of_runs_may_read_the_keys_of_the_launcher(cluster: Cluster) -> None:
    assert main(CONNECT) == 0
    (provider,) = yaml.safe_load(cluster.data(LAUNCHER)["providers"]).values()
    secret = provider["default"]["credentials"]["secretRef"]["secretName"]
    rules = named(render("overlays/local"), "Role", "q-chunking-runner")["rules"]
    read = {n for r in rules if "secrets" in r["resources"] for n in r["resourceNames"]}
    assert read == {secret}


def test_without_kubectl_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(CONNECT) == 2
    assert "kubectl is not installed" in capsys.readouterr().err


def test_record_is_a_secret_because_it_contains_former_keys(cluster: Cluster) -> None:
    assert main(CONNECT) == 0
    record = copy.deepcopy(cluster.objects[RECORD])
    assert record["kind"] == "Secret"
    assert "bWluaW8xMjM=" not in json.dumps(record["data"])


def test_kubectl_knows_every_command(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(CONNECT) == 0
    settings = copy.deepcopy(cluster.objects["secret/q-chunking-store"])
    settings["data"]["secretkey"] = "bmV3"
    cluster.put(settings)
    assert main(CONNECT) == main(DISCONNECT) == 0
    monkeypatch.undo()
    forms = {
        (c[0], *(argument.partition("=")[0] for argument in c if argument.startswith("-"))): c
        for c in cluster.commands
    }
    for (verb, *_), command in forms.items():
        if verb == "config":
            continue
        nowhere = ["--server=http://127.0.0.1:1", *command]
        done = subprocess.run(
            ["kubectl", *nowhere], input="{}", capture_output=True, text=True, check=False
        )
        known = ("127.0.0.1:1", "unable to read patch file", "error validating")
        assert any(text in done.stderr for text in known), (command, done.stderr)


def test_logs_are_stored_where_the_pages_look_for_them(cluster: Cluster) -> None:
    assert main(CONNECT) == 0
    key = repository(cluster)["s3"]["keyFormat"]
    assert cluster.variables(UI)["ARGO_KEYFORMAT"] == key
    # The pages know only the pod and its namespace for certain.
    assert set(re.findall(r"{{(.*?)}}", key)) == {"workflow.namespace", "pod.name"}


def install_mlflow(cluster: Cluster) -> None:
    cluster.put({"kind": "Service", "metadata": {"name": "q-chunking-mlflow"}})
    cluster.kfp_config = {"DBConfig": {"Host": "mysql"}, "plugins": {"mlflow": {"endpoint": "x"}}}


def test_kfp_makes_mlflow_runs_once_the_server_is_installed(cluster: Cluster) -> None:
    before = cluster.copy()
    assert main(CONNECT) == 0
    assert "configmap/q-chunking-kfp-config" not in cluster.objects
    install_mlflow(cluster)
    assert main(CONNECT) == 0
    config = json.loads(cluster.data("configmap/q-chunking-kfp-config")["config.json"])
    assert config["DBConfig"] == {"Host": "mysql"}
    plugin = config["plugins"]["mlflow"]
    assert plugin["endpoint"] == "http://q-chunking-mlflow.kubeflow:5000"
    assert plugin["settings"]["injectUserEnvVars"] is True
    pod = cluster.objects[API]["spec"]["template"]["spec"]
    kubernetes_validate.validate(cluster.objects[API], "1.32", strict=True)
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "q-chunking-config"]
    assert (mount["mountPath"], mount["subPath"]) == ("/config/config.json", "config.json")
    (volume,) = [v for v in pod["volumes"] if v["name"] == "q-chunking-config"]
    assert volume["configMap"]["name"] == "q-chunking-kfp-config"

    cluster.kfp_config, changes = config, cluster.changes()
    assert main(CONNECT) == 0
    assert cluster.changes() == changes
    assert main(DISCONNECT) == 0
    restored = sorted_variables(cluster.copy())[API]
    pod = restored["spec"]["template"]["spec"]
    assert pod.pop("volumes") == pod["containers"][0].pop("volumeMounts") == []
    assert restored == sorted_variables(before)[API]


def test_a_configuration_that_somebody_else_mounts_is_not_replaced(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    install_mlflow(cluster)
    content = copy.deepcopy(cluster.objects[API])
    pod = content["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": "mine", "configMap": {"name": "theirs"}}]
    mount = {"name": "mine", "mountPath": "/config/config.json", "subPath": "config.json"}
    pod["containers"][0]["volumeMounts"] = [mount]
    cluster.put(content)
    assert main(CONNECT) == 2
    assert "is mounted from theirs: add plugins.mlflow there" in capsys.readouterr().err
    assert not cluster.changes()
