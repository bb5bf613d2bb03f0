"""The part service-accounts gives each step its own account."""

from pathlib import Path

from pipeline.compile import compile_pipeline
from pipeline.placement import STEPS
from tests.manifests.rendering import named, needs_kubectl, render
from tests.pipeline.tasks import read_package

pytestmark = needs_kubectl
FOLDER = "parts/service-accounts"


def test_each_step_has_an_account_with_the_rights_of_the_run() -> None:
    objects = render(FOLDER)
    accounts = {o["metadata"]["name"] for o in objects if o["kind"] == "ServiceAccount"}
    assert accounts == {f"q-chunking-{step}" for step in STEPS}
    binding = named(objects, "RoleBinding", "q-chunking-steps")
    assert {subject["name"] for subject in binding["subjects"]} == accounts
    assert binding["roleRef"]["name"] == "q-chunking-runner"


def test_policy_reads_the_label_that_placement_sets(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    compile_pipeline("smoke", [], path)
    _, platform = read_package(path)
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    policy = named(render(FOLDER), "MutatingAdmissionPolicy", "q-chunking-service-accounts")
    (selector,) = policy["spec"]["matchConstraints"]["objectSelector"]["matchExpressions"]
    for name, pod in pods.items():
        assert pod["podMetadata"]["labels"][selector["key"]] == name.removeprefix("exec-")
    (mutation,) = policy["spec"]["mutations"]
    assert f'labels["{selector["key"]}"]' in mutation["jsonPatch"]["expression"]


def test_only_pods_of_the_run_are_changed() -> None:
    objects = render(FOLDER)
    policy = named(objects, "MutatingAdmissionPolicy", "q-chunking-service-accounts")["spec"]
    (condition,) = policy["matchConditions"]
    assert condition["expression"].endswith('serviceAccountName == "q-chunking-runner"')
    assert policy["failurePolicy"] == "Fail"
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert (rule["resources"], rule["operations"]) == (["pods"], ["CREATE"])
    binding = named(objects, "MutatingAdmissionPolicyBinding", "q-chunking-service-accounts")
    assert binding["spec"]["policyName"] == "q-chunking-service-accounts"
