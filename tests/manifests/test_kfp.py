"""KFP's own objects use our MinIO after the change, and keep all other fields."""

import copy
import shutil
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.manifests.rendering import (
    MANIFESTS,
    Object,
    kustomize,
    named,
    needs_kubectl,
    pods,
    render,
)

pytestmark = needs_kubectl

KFP = Path(__file__).parent / "data" / "kfp-2.17.yaml"
SETTINGS = MANIFESTS / "parts/minio/kfp"
# Fields of a provider that KFP's launcher reads: backend/src/v2/config/s3.go.
PROVIDER = {"endpoint", "region", "disableSSL", "forcePathStyle", "maxRetries", "credentials"}
SECRET = {"secretName", "accessKeyKey", "secretKeyKey"}


@pytest.fixture(scope="module")
def before() -> list[Object]:
    return list(yaml.safe_load_all(KFP.read_text()))


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """Merges like server-side apply: maps by key, environment by name."""
    folder = tmp_path_factory.mktemp("kfp")
    shutil.copy(KFP, folder / "kfp.yaml")
    patches = yaml.safe_load((SETTINGS / "kustomization.yaml").read_text())["resources"]
    for patch in patches:
        shutil.copy(SETTINGS / patch, folder)
    kustomization = {"resources": ["kfp.yaml"], "patches": [{"path": p} for p in patches]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return kustomize(folder)


@pytest.fixture(scope="module")
def minio() -> str:
    """Address of MinIO for pods of the namespace."""
    service = named(render("overlays/local"), "Service", "q-chunking-minio")
    (port,) = service["spec"]["ports"]
    return f"{service['metadata']['name']}.{service['metadata']['namespace']}:{port['port']}"


def environment(o: Object) -> dict[str, object]:
    (container,) = o["spec"]["template"]["spec"]["containers"]
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names))
    for entry in container["env"]:
        assert ("value" in entry) != ("valueFrom" in entry), entry
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def test_only_the_intended_fields_change(before: list[Object], after: list[Object]) -> None:
    for o in after:
        kubernetes_validate.validate(o, "1.32", strict=True)
    restored = copy.deepcopy(after)
    for name in ("ml-pipeline", "ml-pipeline-ui"):
        (container,) = named(restored, "Deployment", name)["spec"]["template"]["spec"]["containers"]
        (was,) = named(before, "Deployment", name)["spec"]["template"]["spec"]["containers"]
        assert {e["name"] for e in was["env"]} <= {e["name"] for e in container["env"]}
        container["env"] = was["env"]
    for name in ("kfp-launcher", "workflow-controller-configmap"):
        was = named(before, "ConfigMap", name)["data"]
        assert was.keys() <= named(restored, "ConfigMap", name)["data"].keys()
    executor = "workflow-controller-configmap"
    assert (
        named(after, "ConfigMap", executor)["data"]["executor"]
        == named(before, "ConfigMap", executor)["data"]["executor"]
    )
    for kind, name in [("Deployment", "ml-pipeline"), ("Deployment", "ml-pipeline-ui")]:
        assert named(restored, kind, name) == named(before, kind, name)


def test_launcher_and_argo_write_where_the_servers_read(after: list[Object], minio: str) -> None:
    host, _, port = minio.partition(":")
    launcher = named(after, "ConfigMap", "kfp-launcher")["data"]
    scheme, _, root = launcher["defaultPipelineRoot"].partition("://")
    provider = yaml.safe_load(launcher["providers"])[scheme]["default"]
    assert provider.keys() <= PROVIDER
    assert (provider["endpoint"], provider["disableSSL"]) == (minio, True)
    assert provider["credentials"]["secretRef"].keys() == SECRET

    argo = yaml.safe_load(
        named(after, "ConfigMap", "workflow-controller-configmap")["data"]["artifactRepository"]
    )
    assert (argo["s3"]["endpoint"], argo["s3"]["insecure"]) == (minio, True)

    api = environment(named(after, "Deployment", "ml-pipeline"))
    assert (api["OBJECTSTORECONFIG_HOST"], api["OBJECTSTORECONFIG_PORT"]) == (host, port)
    assert api["OBJECTSTORECONFIG_SECURE"] == "false"

    # The UI adds the namespace to the host.
    ui = environment(named(after, "Deployment", "ml-pipeline-ui"))
    assert f"{ui['MINIO_HOST']}.kubeflow:{ui['MINIO_PORT']}" == minio
    assert "MINIO_NAMESPACE" in ui and ui["MINIO_SSL"] == "false"

    (job,) = [p for p in pods(render("overlays/local")) if p.name == "Job/q-chunking-buckets"]
    settings = named(render("overlays/local"), "ConfigMap", "q-chunking")["data"]
    needed = {argo["s3"]["bucket"], root.split("/")[0], settings["QC_STORE"].split("/")[2]}
    assert needed == set(job.containers[0]["command"][3:])


def test_logs_are_stored_where_the_ui_reads_them(before: list[Object], after: list[Object]) -> None:
    def repository(objects: list[Object]) -> Object:
        data = named(objects, "ConfigMap", "workflow-controller-configmap")["data"]
        return yaml.safe_load(data["artifactRepository"])

    was, now = repository(before), repository(after)
    assert now["s3"].pop("endpoint") != was["s3"].pop("endpoint")
    assert now == was


def test_account_of_runs_may_read_the_keys_of_the_launcher(after: list[Object]) -> None:
    launcher = named(after, "ConfigMap", "kfp-launcher")
    (provider,) = yaml.safe_load(launcher["data"]["providers"]).values()
    secret = provider["default"]["credentials"]["secretRef"]["secretName"]
    rules = named(render("overlays/local"), "Role", "q-chunking-runner")["rules"]
    read = {n for r in rules if "secrets" in r["resources"] for n in r["resourceNames"]}
    assert read == {secret}
