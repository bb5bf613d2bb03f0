"""Computes how many pods of one size fit on the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.cluster.kubectl import Object
from qc_core.config.resources import parse_quantity

_ENDED = ("Succeeded", "Failed")


def fitting_pods(
    nodes: Sequence[Object],
    pods: Sequence[Object],
    wanted: Mapping[str, str],
    selector: Mapping[str, str],
    tolerations: Sequence[Object],
) -> int:
    """Return how many pods of one size fit on the nodes beside those that run there.

    Args:
        wanted: requests of one pod by resource, such as `{"cpu": "2", "memory": "8Gi"}`.
        selector, tolerations: of that pod.
    """
    needs = {name: parse_quantity(text) for name, text in wanted.items()}
    needs = {name: value for name, value in needs.items() if value}
    total = 0
    for node in nodes:
        if not _allows(node, selector, tolerations):
            continue
        free = {
            name: parse_quantity(node["status"]["allocatable"].get(name, "0")) for name in needs
        }
        for pod in pods:
            if pod["spec"].get("nodeName") == node["metadata"]["name"]:
                for name in needs:
                    free[name] -= _requested(pod, name)
        total += max(0, min(int(free[name] / need + 1e-9) for name, need in needs.items()))
    return total


def _requested(pod: Object, name: str) -> float:
    if pod.get("status", {}).get("phase") in _ENDED:
        return 0.0
    requests = [
        container.get("resources", {}).get("requests", {}).get(name, "0")
        for container in pod["spec"]["containers"]
    ]
    return sum(map(parse_quantity, requests))


def _allows(node: Object, selector: Mapping[str, str], tolerations: Sequence[Object]) -> bool:
    labels = node["metadata"].get("labels", {})
    if node["spec"].get("unschedulable") or any(labels.get(k) != v for k, v in selector.items()):
        return False
    return all(
        any(_tolerates(toleration, taint) for toleration in tolerations)
        for taint in node["spec"].get("taints", ())
        if taint["effect"] != "PreferNoSchedule"
    )


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    same_key = toleration.get("key") == taint["key"]
    return same_key and toleration.get("value", "") == taint.get("value", "")
