"""Every object that a pod refers to exists, or the README creates it."""

from collections.abc import Iterator

import pytest

from tests.manifests.readme import documented_secrets
from tests.manifests.rendering import APPLIED, OVERLAYS, Object, needs_kubectl, pods, render

pytestmark = needs_kubectl

RECOMMENDED = {f"app.kubernetes.io/{name}" for name in ("name", "component", "part-of")}


def references(o: object) -> Iterator[tuple[str, str, str | None]]:
    """Kind, name and key of every Secret, ConfigMap, claim and account in an object."""
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
def test_referenced_objects_exist_or_are_documented(
    folder: str, secrets: dict[str, dict[str, str]]
) -> None:
    objects = render(folder)
    # Parts are applied together with the base.
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
def test_manifests_contain_no_secrets(folder: str) -> None:
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
def test_selectors_match_their_pods(folder: str) -> None:
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
def test_account_of_runs_has_only_the_listed_rights(folder: str) -> None:
    roles = [o for o in render(folder) if o["kind"] in ("Role", "ClusterRole")]
    assert [o["kind"] for o in roles] == ["Role"]
    for rule in roles[0]["rules"]:
        assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
        if rule["apiGroups"] == [""]:
            assert rule["verbs"] == ["get"] and rule["resourceNames"]
