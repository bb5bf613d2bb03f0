"""The compiled package has the Kubernetes settings of each step's pod."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.placement import STEPS
from qc_core.cli.main import main
from qc_core.config.catalog import find_recipe
from qc_core.config.resources import parse_quantity
from tests.pipeline.tasks import read_package, tasks_of

pytestmark = pytest.mark.usefixtures("without_trying_environments")
TRAINING = [name for name, step in STEPS.items() if step.trains]


@pytest.fixture(scope="module")
def documents(
    tmp_path_factory: pytest.TempPathFactory, without_trying_environments: None
) -> tuple[dict[str, Any], dict[str, Any]]:
    path = tmp_path_factory.mktemp("package") / "pipeline.yaml"
    assert main(["compile", "smoke", "-o", str(path)]) == 0
    return read_package(path)


@pytest.fixture(scope="module")
def package(documents: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return documents[0]


@pytest.fixture(scope="module")
def pods(documents: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): pod for name, pod in executors.items()}


def _tasks(package: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every task that runs a container, in all graphs."""
    return {name: task for name, task in tasks_of(package).items() if name in STEPS}


def _resources(package: dict[str, Any], name: str) -> dict[str, Any]:
    return package["deploymentSpec"]["executors"][f"exec-{name}"]["container"]["resources"]


def _input(name: str) -> str:
    return f"{{{{$.inputs.parameters['pipelinechannel--resources_{name}']}}}}"


@pytest.mark.parametrize("name", STEPS)
def test_each_pod_has_limits_and_no_privileges(
    package: dict[str, Any], pods: dict[str, dict[str, Any]], name: str
) -> None:
    pod, step, task = pods[name], STEPS[name], _tasks(package)[name]
    assert pod["activeDeadlineSeconds"] == str(step.hours * 3600)
    assert pod["securityContext"] == {
        "runAsUser": "1000",
        "runAsGroup": "1000",
        "runAsNonRoot": True,
    }
    assert pod["podMetadata"]["labels"] == {
        "app.kubernetes.io/part-of": "q-chunking",
        "q-chunking/step": name,
    }
    assert {"/tmp", "/home/qc"} <= {mount["mountPath"] for mount in pod["emptyDirMounts"]}
    assert task["taskInfo"]["name"] == step.title
    retry = task["retryPolicy"]
    assert retry["maxRetryCount"] == step.retries > 0
    assert retry["backoffDuration"] == "60s" and retry["backoffFactor"] == 2.0
    # Argo ends all attempts this long after the start of the first.
    deadline = int(retry["backoffMaxDuration"].removesuffix("s"))
    assert deadline > step.hours * 3600 * (step.retries + 1)
    resources = _resources(package, name)
    assert resources["resourceMemoryRequest"] and resources["resourceMemoryLimit"]


@pytest.mark.parametrize("name", TRAINING)
def test_training_steps_use_the_resources_and_nodes_of_the_inputs(
    package: dict[str, Any], pods: dict[str, dict[str, Any]], name: str
) -> None:
    resources, pod = _resources(package, name), pods[name]
    assert resources["accelerator"] == {
        "type": "nvidia.com/gpu",
        "resourceType": "nvidia.com/gpu",
        "resourceCount": _input("gpus"),
    }
    for kind in ("Request", "Limit"):
        assert resources[f"resourceCpu{kind}"] == _input("cpus")
        assert resources[f"resourceMemory{kind}"] == _input("memory")
    selector = pod["nodeSelector"]["nodeSelectorJson"]
    assert selector == {"componentInputParameter": "pipelinechannel--resources_node_selector"}
    shared = {"mountPath": "/dev/shm", "medium": "Memory", "volumeName": "shared-memory"}
    assert shared in pod["emptyDirMounts"]


def test_other_steps_use_no_gpus_and_any_node(
    package: dict[str, Any], pods: dict[str, dict[str, Any]]
) -> None:
    for name in set(STEPS) - set(TRAINING):
        resources = _resources(package, name)
        assert "accelerator" not in resources
        assert resources["resourceCpuRequest"] == STEPS[name].cpu
        assert resources["resourceMemoryRequest"] == STEPS[name].memory
        limit = parse_quantity(resources["resourceMemoryLimit"])
        assert limit >= parse_quantity(STEPS[name].memory)
        assert "nodeSelector" not in pods[name] and "tolerations" not in pods[name]


def test_inputs_of_pods_are_inputs_of_their_graphs(
    package: dict[str, Any], pods: dict[str, dict[str, Any]]
) -> None:
    """The compiler omits inputs that only a pod inside a loop or an exit handler uses."""
    graphs = {"root": package["root"], **package["components"]}
    for graph_name, graph in graphs.items():
        has = set(graph.get("inputDefinitions", {}).get("parameters", {}))
        for name, task in graph.get("dag", {}).get("tasks", {}).items():
            parameters = task.get("inputs", {}).get("parameters", {})
            needs = {
                entry["componentInputParameter"]
                for entry in [*parameters.values(), *_named_in(pods.get(name, {}))]
                if "componentInputParameter" in entry
            }
            assert needs <= has, (graph_name, name)


def _named_in(value: Any) -> list[dict[str, Any]]:
    """Every object inside a pod's settings that refers to an input."""
    if isinstance(value, list):
        return [found for entry in value for found in _named_in(entry)]
    if not isinstance(value, dict):
        return []
    if "componentInputParameter" in value:
        return [value]
    return [found for entry in value.values() for found in _named_in(entry)]


def test_resource_inputs_are_strings(package: dict[str, Any]) -> None:
    """KFP's driver uses the string value of an input, which is empty for numbers."""
    inputs = package["root"]["inputDefinitions"]["parameters"]
    for name in ("resources_gpus", "resources_cpus", "resources_memory"):
        assert inputs[name]["parameterType"] == "STRING"
    assert inputs["resources_gpus"]["defaultValue"] == "0"


def test_form_has_the_memory_that_the_recipe_needs(package: dict[str, Any]) -> None:
    default = package["root"]["inputDefinitions"]["parameters"]["resources_memory"]["defaultValue"]
    assert default == f"{find_recipe('smoke').memory_gib}Gi"


def test_settings_of_the_cluster_are_fixed_in_the_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pipeline.yaml"
    compile_smoke = ["compile", "smoke", "-o", str(path)]
    taints = ["--tolerate", "nvidia.com/gpu:NoSchedule", "--tolerate", "team=robots"]
    assert main([*compile_smoke, "--gpu-type", "nvidia.com/mig-1g.10gb", *taints]) == 0
    package, platform = read_package(path)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name in TRAINING:
        accelerator = _resources(package, name)["accelerator"]
        assert accelerator["resourceType"] == "nvidia.com/mig-1g.10gb"
        assert executors[f"exec-{name}"]["tolerations"] == [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "team", "operator": "Equal", "value": "robots"},
        ]
    for wrong in (["--gpu-type", ""], ["--tolerate", "team:Never"], ["--tolerate", "=x"]):
        assert main([*compile_smoke, *wrong]) == 2
        assert f"{wrong[0]} must be" in capsys.readouterr().err


def test_each_step_receives_only_the_secrets_that_it_needs(
    pods: dict[str, dict[str, Any]],
) -> None:
    variables = {
        "study": {"QC_STUDY_STORAGE"},
        "webhook": {"QC_WEBHOOK_URL"},
        "signing": {"QC_SIGNING_KEY"},
        "data": {
            "QC_DATA_ACCESS_KEY_ID",
            "QC_DATA_SECRET_ACCESS_KEY",
            "QC_DATA_S3_ENDPOINT",
            "QC_DATA_REGION",
        },
    }
    for name, step in STEPS.items():
        given = {
            pair["envVar"]
            for secret in pods[name].get("secretAsEnv", ())
            for pair in secret["keyToEnv"]
        }
        wanted = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
        for need, names in variables.items():
            if getattr(step, need):
                wanted |= names
        assert given == wanted, name


def test_no_pod_waits_for_a_secret_and_no_name_of_one_is_an_input(
    pods: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """The driver of a step fails on an empty name, also that of the step that reports failures."""
    for pod in pods.values():
        for secret in [*pod["secretAsEnv"], *pod.get("secretAsVolume", ())]:
            assert secret["optional"]
            assert set(secret["secretNameParameter"]) == {"runtimeValue"}
    path = tmp_path / "pipeline.yaml"
    assert main(["compile", "smoke", "-o", str(path), "--store-secret", "mine"]) == 0
    _, platform = read_package(path)
    assert "pvcMount" not in str(platform)
    (secret,) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-export"][
        "secretAsEnv"
    ]
    assert secret["secretNameParameter"]["runtimeValue"]["constant"] == "mine"
    assert main(["compile", "smoke", "-o", str(path), "--store-secret", ""]) == 2


def test_last_step_depends_on_no_input_that_describes_pods(package: dict[str, Any]) -> None:
    inputs = package["root"]["dag"]["tasks"]["outcome"]["inputs"]["parameters"]
    used = {entry.get("componentInputParameter") for entry in inputs.values()}
    assert used - {None} == {"recipe"}


def test_no_step_is_cached(package: dict[str, Any]) -> None:
    for name, task in _tasks(package).items():
        assert not task.get("cachingOptions", {}).get("enableCache"), name


def test_the_claims_of_the_data_are_mounted_where_the_data_are_read(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    data = ["--data", "pvc://robots/day", "pvc://sim/a.npz", "collect"]
    assert main(["compile", "smoke", "-o", str(path), *data]) == 0
    _, platform = read_package(path)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    mounted = {
        name: [mount["mountPath"] for mount in pod["pvcMount"]]
        for name, pod in executors.items()
        if "pvcMount" in pod
    }
    folders = ["/mnt/claims/robots", "/mnt/claims/sim"]
    assert mounted == {"exec-configure": folders, "exec-ingest": folders}
    (first, _) = executors["exec-ingest"]["pvcMount"]
    assert first["pvcNameParameter"]["runtimeValue"]["constant"] == "robots"
    schedule = ["schedule", "create", "smoke", "--cron", "0 3 * * 1", *data]
    assert main(schedule) == 2
