"""Starts a pod as a step would run, to check from inside what steps need."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

from pipeline.cluster.check import UNKNOWN, WRONG, Finding, Need
from pipeline.cluster.kubectl import Kubectl, Object
from pipeline.placement import Secrets
from qc_core.errors import RunError

_PATIENCE_SECONDS = 600.0
_POLL_SECONDS = 3.0
_ENDED = ("Succeeded", "Failed")
_SMALL = {"cpu": "100m", "memory": "512Mi"}


def try_pods(kubectl: Kubectl, need: Need, image: str) -> Iterator[Finding]:
    """Run a pod without and, if the need has one, a pod with a GPU; yield what they found."""
    yield from _try(kubectl, _pod(["store", "study", "kfp"], _SMALL, None, need.secrets, image))
    if need.requests[need.gpu_type] != "0":
        yield from _try(kubectl, _pod(["gpu"], need.requests, need, need.secrets, image))


def _try(kubectl: Kubectl, pod: Object) -> Iterator[Finding]:
    name = pod["metadata"]["name"]
    kubectl.create(pod)
    try:
        state = _wait(kubectl, name)
        if state in _ENDED:
            for line in kubectl.run("logs", f"pod/{name}").splitlines():
                if len(parts := line.split("\t")) == 3:
                    yield Finding(*parts)
        if state not in _ENDED or state == "Failed":
            fix = f"kubectl -n {kubectl.namespace} describe pod explains a pod that does not start"
            reason = state if state not in _ENDED else "a check failed"
            yield Finding(WRONG, "pod", f"{name}: {reason}", fix)
    except RunError as error:
        yield Finding(UNKNOWN, "pod", str(error))
    finally:
        kubectl.delete(f"pod/{name}")


def _wait(kubectl: Kubectl, name: str) -> str:
    """Return `Succeeded`, `Failed`, or why the pod has not ended in time."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        status = kubectl.get(f"pod/{name}").get(f"pod/{name}", {}).get("status", {})
        if status.get("phase") in _ENDED:
            return status["phase"]
        if time.monotonic() > deadline:
            waiting = [c["state"].get("waiting", {}) for c in status.get("containerStatuses", ())]
            notes = [*waiting, *status.get("conditions", ())]
            reasons = [f"{n['reason']} {n.get('message', '')}" for n in notes if n.get("reason")]
            return f"not finished after {_PATIENCE_SECONDS:g} s: {reasons[0] if reasons else '?'}"
        time.sleep(_POLL_SECONDS)


def _pod(
    checks: list[str], requests: dict[str, str], need: Need | None, names: Secrets, image: str
) -> Object:
    variables = {
        "AWS_ACCESS_KEY_ID": (names.store, "accesskey"),
        "AWS_SECRET_ACCESS_KEY": (names.store, "secretkey"),
        "QC_STUDY_STORAGE": (names.study, "url"),
    }
    folders = {"tmp": "/tmp", "home": "/home/qc"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"q-chunking-check-{secrets.token_hex(3)}",
            "labels": {
                # The network policies of steps apply.
                "app.kubernetes.io/part-of": "q-chunking",
                "app.kubernetes.io/component": "check",
                "pipelines.kubeflow.org/v2_component": "true",
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": "q-chunking-runner",
            "nodeSelector": need.selector if need else {},
            "tolerations": need.tolerations if need else [],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "command": ["python", "-m", "components.check_access", *checks],
                    "envFrom": [{"configMapRef": {"name": "q-chunking"}}],
                    "env": [
                        {
                            "name": variable,
                            "valueFrom": {
                                "secretKeyRef": {"name": secret, "key": key, "optional": True}
                            },
                        }
                        for variable, (secret, key) in variables.items()
                    ],
                    "resources": {"requests": requests, "limits": requests},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": name, "mountPath": path} for name, path in folders.items()
                    ],
                }
            ],
            "volumes": [{"name": name, "emptyDir": {}} for name in folders],
        },
    }
