"""Every pod is restricted, has limits and probes, and uses a fixed image."""

import re

import pytest

from components.image import TRAIN_IMAGE
from qc_core import __version__
from tests.manifests.rendering import APPLIED, OVERLAYS, Object, needs_kubectl, pods, render

pytestmark = needs_kubectl

FIXED_TAG = re.compile(r"[^:@]+:(?!latest$)[\w][\w.-]+")

WITHOUT_PODS = ("parts/service-accounts", "parts/time-slicing")


def all_pods() -> list[object]:
    return [pytest.param(f, id=f) for f in APPLIED if f not in WITHOUT_PODS]


@pytest.mark.parametrize("folder", all_pods())
def test_no_container_is_privileged_or_root(folder: str) -> None:
    found = list(pods(render(folder)))
    assert found
    for pod in found:
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True, pod.name
        assert context["runAsUser"] > 0 and context["runAsGroup"] > 0, pod.name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod.name
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            assert name not in pod.spec, pod.name
        assert not any("hostPath" in volume for volume in pod.spec.get("volumes", [])), pod.name
        for container in pod.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, pod.name


@pytest.mark.parametrize("folder", all_pods())
def test_every_container_has_requests_and_limits(folder: str) -> None:
    for pod in pods(render(folder)):
        for container in pod.containers:
            resources = container["resources"]
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= resources[kind].keys(), (pod.name, kind)


@pytest.mark.parametrize("folder", all_pods())
def test_servers_have_probes_and_time_to_start(folder: str) -> None:
    for pod in pods(render(folder)):
        if pod.serves:
            probes = {"startupProbe", "readinessProbe", "livenessProbe"}
            assert probes <= pod.containers[-1].keys(), pod.name


@pytest.mark.parametrize("folder", OVERLAYS)
def test_images_have_fixed_tags_and_ours_have_the_version_of_the_package(folder: str) -> None:
    ours = set()
    for pod in pods(render(folder)):
        for container in pod.containers:
            assert FIXED_TAG.fullmatch(container["image"]), container["image"]
            if "q-chunking" in container["image"]:
                ours.add(container["image"].rpartition("/")[2])
    assert ours == {f"q-chunking-{name}:{__version__}" for name in ("train", "runtime")}


def test_local_overlay_uses_the_images_of_a_compiled_package() -> None:
    images = {c["image"] for pod in pods(render("overlays/local")) for c in pod.containers}
    assert TRAIN_IMAGE in images


def test_policy_server_has_a_fixed_version() -> None:
    (pod,) = pods(render("parts/serving"))
    (model,) = pod.containers
    assert re.fullmatch(r"\d\d\.\d\d-py3", model["runtimeVersion"])


@pytest.mark.parametrize("folder", all_pods())
def test_no_pod_has_a_token_of_the_kubernetes_api(folder: str) -> None:
    for pod in pods(render(folder)):
        assert pod.spec["automountServiceAccountToken"] is False, pod.name


def test_only_the_gpu_overlay_requests_gpus() -> None:
    def asks(objects: list[Object]) -> bool:
        return any(".com/gpu" in str(pod.spec) for pod in pods(objects))

    assert asks(render("overlays/gpu"))
    assert not asks(render("overlays/local"))
