"""A trial becomes a production installation: one overlay can be applied over the other."""

from __future__ import annotations

from typing import Any

import yaml

from qc_core import __version__
from tests.manifests.rendering import MANIFESTS, Object, kustomize, named, needs_kubectl, render

pytestmark = needs_kubectl

# All that Kubernetes lets one change in the specification of a StatefulSet.
MUTABLE = {
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
}
DISKS = MANIFESTS / "overlays" / "gpu" / "disks.yaml"


def fixed_part(o: Object) -> Any:
    """What Kubernetes refuses to change in an object."""
    if o["kind"] == "StatefulSet":
        return {name: value for name, value in o["spec"].items() if name not in MUTABLE}
    return {"Deployment": lambda: o["spec"]["selector"], "RoleBinding": lambda: o["roleRef"]}.get(
        o["kind"], lambda: None
    )()


def test_the_production_overlay_can_be_applied_over_that_of_a_trial() -> None:
    trial, production = render("overlays/local"), render("overlays/gpu")
    for o in trial:
        other = named(production, o["kind"], o["metadata"]["name"])
        assert fixed_part(o) == fixed_part(other), o["metadata"]["name"]


def test_the_disks_of_production_are_those_of_a_trial_enlarged_and_survive_removal() -> None:
    disks = {disk["metadata"]["name"]: disk for disk in yaml.safe_load_all(DISKS.read_text())}
    used = {}
    for o in render("overlays/local"):
        for claim in o["spec"].get("volumeClaimTemplates", []) if "spec" in o else []:
            used[f"{claim['metadata']['name']}-{o['metadata']['name']}-0"] = claim["spec"]
    assert disks.keys() == used.keys()
    for name, disk in disks.items():
        assert disk["metadata"]["namespace"] == "kubeflow"
        assert disk["spec"]["accessModes"] == used[name]["accessModes"]
        sizes = [part["resources"]["requests"]["storage"] for part in (used[name], disk["spec"])]
        trial, production = (int(size.removesuffix("Gi")) for size in sizes)
        assert trial < production
    assert not [o for o in render("overlays/gpu") if o["kind"] == "PersistentVolumeClaim"]


def test_images_can_be_pinned_by_digest(tmp_path: Any) -> None:
    digest = "sha256:" + "0" * 64
    overlay = {
        "resources": ["../production"],
        "images": [
            {"name": f"registry.example.com/q-chunking-{kind}", "digest": digest}
            for kind in ("train", "runtime")
        ],
    }
    objects = list(render("overlays/gpu"))
    (tmp_path / "production").mkdir()
    (tmp_path / "production" / "all.yaml").write_text(yaml.safe_dump_all(objects))
    (tmp_path / "production" / "kustomization.yaml").write_text("resources: [all.yaml]")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    rendered = yaml.safe_dump_all(kustomize(tmp_path / "mine"))
    assert f"registry.example.com/q-chunking-train@{digest}" in rendered
    assert f"registry.example.com/q-chunking-runtime@{digest}" in rendered
    assert f":{__version__}" not in rendered
