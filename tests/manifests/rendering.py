"""Renders the manifests with kustomize, and finds the pods in them."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]

MANIFESTS = Path(__file__).parents[2] / "manifests"
OVERLAYS = ("overlays/local", "overlays/gpu")
# Folders that are applied unchanged.
APPLIED = (
    *OVERLAYS,
    "parts/mlflow",
    "parts/serving",
    "parts/time-slicing",
    "parts/service-accounts",
)

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, which holds kustomize, is not installed"
)


@dataclass(frozen=True)
class Pod:
    """Return the pod that an object creates.

    Attributes:
        containers: those of the init phase first.
        serves: runs for good, so that it is probed.
    """

    name: str
    labels: dict[str, str]
    spec: Object
    containers: list[Object]
    serves: bool


@functools.cache
def render(folder: str) -> list[Object]:
    """Return the objects of one folder below manifests/."""
    return kustomize(MANIFESTS / folder)


def kustomize(folder: Path) -> list[Object]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def named(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    return found


def pods(objects: list[Object]) -> Iterator[Pod]:
    for o in objects:
        name = f"{o['kind']}/{o['metadata']['name']}"
        if o["kind"] == "InferenceService":
            spec = o["spec"]["predictor"]
            yield Pod(name, spec["labels"], spec, [spec["model"]], serves=True)
        elif "template" in o.get("spec", {}):
            template = o["spec"]["template"]
            spec = template["spec"]
            containers = [*spec.get("initContainers", []), *spec["containers"]]
            yield Pod(
                name, template["metadata"]["labels"], spec, containers, serves=o["kind"] != "Job"
            )
