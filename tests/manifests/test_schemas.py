"""Every object has only fields of the schemas of Kubernetes and KServe."""

import copy
import functools
import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

from tests.manifests.rendering import APPLIED, Object, named, needs_kubectl, render

pytestmark = needs_kubectl

KUBERNETES = "1.32"
# Kinds that older schemas do not have.
NEWER = {"MutatingAdmissionPolicy": "1.37", "MutatingAdmissionPolicyBinding": "1.37"}
KSERVE = Path(__file__).parent / "data" / "inferenceservice-v1beta1.json"


@functools.cache
def kserve_validator() -> Any:
    definitions = schema_contents(
        f"kubernetes-json-schema/v{KUBERNETES}.0-local-strict/_definitions.json", KUBERNETES
    )
    registry = Resource.from_contents(definitions) @ Registry()
    return jsonschema.Draft202012Validator(json.loads(KSERVE.read_text()), registry=registry)


def validate(o: Object) -> None:
    if o["kind"] == "InferenceService":
        kserve_validator().validate(o)
    else:
        kubernetes_validate.validate(o, NEWER.get(o["kind"], KUBERNETES), strict=True)


@pytest.mark.parametrize("folder", APPLIED)
def test_every_object_matches_its_schema(folder: str) -> None:
    objects = render(folder)
    assert objects
    for o in objects:
        validate(o)


def test_unknown_field_is_refused_at_any_level() -> None:
    service = copy.deepcopy(named(render("parts/serving"), "InferenceService", "q-chunking-policy"))
    study = copy.deepcopy(named(render("overlays/local"), "StatefulSet", "q-chunking-study"))
    for o, spec in (
        (service, service["spec"]),
        (service, service["spec"]["predictor"]["model"]["securityContext"]),
        (service, service["spec"]["predictor"]["volumes"][0]),
        (study, study["spec"]["template"]["spec"]["containers"][0]["securityContext"]),
    ):
        validate(o)
        spec["runAsRoot"] = False
        with pytest.raises(jsonschema.ValidationError, match="runAsRoot"):
            validate(o)
        del spec["runAsRoot"]
