"""What a pod asks for by name is there, or the README says how it is made."""

from collections.abc import Iterator

import pytest

from tests.manifests.readme import documented_secrets
from tests.manifests.rendering import APPLIED, OVERLAYS, Object, needs_kubectl, pods, render

pytestmark = needs_kubectl

RECOMMENDED = {f"app.kubernetes.io/{name}" for name in ("name", "component", "part-of")}


def references(o: object) -> Iterator[tuple[str, str, str | None]]:
    """Kind, name and key of every Secret, ConfigMap, claim and account below an object."""
    if isinstance(o, list):
        for entry in o:
            yield from references(entry)
    if not isinstance(o, dict):
        return
    for field, value in o.items():
        if field in ("secretKeyRef", "secretRef"):
            yield "Secret", value["name"], value.get("key")
        elif field == "secret":
            yield "Secret", value["secretName"], None
        elif field in ("configMapKeyRef", "configMapRef", "configMap"):
            yield "ConfigMap", value["name"], value.get("key")
        elif field == "persistentVolumeClaim":
            yield "PersistentVolumeClaim", value["claimName"], None
        elif field == "serviceAccountName":
            yield "ServiceAccount", value, None
        else:
            yield from references(value)


@pytest.fixture(scope="module")
def secrets() -> dict[str, dict[str, str]]:
    return documented_secrets()


@pytest.mark.parametrize("folder", APPLIED)
def test_whatever_is_referenced_exists_or_is_documented(
    folder: str, secrets: dict[str, dict[str, str]]
) -> None:
    objects = render(folder)
    # Parts stand beside the base.
    around = [*render("base"), *objects]
    there = {(o["kind"], o["metadata"]["name"]): o.get("data", {}) for o in around}
    there |= {("Secret", name): content for name, content in secrets.items()}
    for kind, name, key in references([pod.spec for pod in pods(objects)]):
        assert (kind, name) in there, f"{kind} {name}"
        assert key is None or key in there[kind, name], f"{kind} {name} has no {key}"
    for o in objects:
        if o["kind"] == "ServiceAccount":
            assert {s["name"] for s in o.get("secrets", [])} <= secrets.keys()
        if o["kind"] == "RoleBinding":
            assert (o["roleRef"]["kind"], o["roleRef"]["name"]) in there
            for subject in o["subjects"]:
                assert (subject["kind"], subject["name"]) in there
                assert subject["namespace"] == o["metadata"]["namespace"]


@pytest.mark.parametrize("folder", APPLIED)
def test_no_secret_is_in_the_manifests(folder: str) -> None:
    assert not [o for o in render(folder) if o["kind"] == "Secret"]


@pytest.mark.parametrize("folder", APPLIED)
def test_objects_and_pods_have_the_recommended_labels(folder: str) -> None:
    objects = render(folder)
    for o in objects:
        labels = o["metadata"]["labels"]
        assert labels.keys() >= RECOMMENDED | {"app.kubernetes.io/managed-by"}, o["metadata"]
    for pod in pods(objects):
        assert pod.labels.keys() >= RECOMMENDED, pod.name


@pytest.mark.parametrize("folder", OVERLAYS)
def test_services_and_workloads_find_their_pods(folder: str) -> None:
    objects = render(folder)
    made = list(pods(objects))

    def selected(labels: Object) -> list[str]:
        return [pod.name for pod in made if labels.items() <= pod.labels.items()]

    for o in objects:
        if o["kind"] == "Service":
            (pod,) = [p for p in made if p.name in selected(o["spec"]["selector"])]
            ports = {port["name"] for c in pod.containers for port in c.get("ports", [])}
            assert {port["targetPort"] for port in o["spec"]["ports"]} <= ports
        elif "selector" in o.get("spec", {}):
            name = f"{o['kind']}/{o['metadata']['name']}"
            assert selected(o["spec"]["selector"]["matchLabels"]) == [name]


@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_account_of_the_runs_may_do_only_what_is_named(folder: str) -> None:
    roles = [o for o in render(folder) if o["kind"] in ("Role", "ClusterRole")]
    assert [o["kind"] for o in roles] == ["Role"]
    for rule in roles[0]["rules"]:
        assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
        if rule["apiGroups"] == [""]:
            assert rule["verbs"] == ["get"] and rule["resourceNames"]
