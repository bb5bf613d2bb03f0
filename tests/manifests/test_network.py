"""The network policies together allow only the intended connections."""

from dataclasses import dataclass

import pytest

from tests.manifests.rendering import Object, needs_kubectl, pods, render

pytestmark = needs_kubectl

OURS = "app.kubernetes.io/part-of"
RUN = {"pipelines.kubeflow.org/v2_component": "true"}
KFP = {"application-crd-id": "kubeflow-pipelines"}
DNS = 53


@dataclass(frozen=True)
class Peer:
    """A pod of the namespace, or an external address if it has no labels."""

    labels: dict[str, str] | None


STEP = Peer({OURS: "q-chunking", **RUN})
OTHER_RUN = Peer(RUN)
KFP_SERVER = Peer(KFP)
STRANGER = Peer({"app": "something"})
OUTSIDE = Peer(None)


def selects(selector: Object, labels: dict[str, str] | None) -> bool:
    if labels is None:
        return False
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions", []):
        value = labels.get(expression["key"])
        holds = {
            "Exists": value is not None,
            "NotIn": value not in expression.get("values", []),
        }[expression["operator"]]
        if not holds:
            return False
    return True


@pytest.fixture(scope="module")
def policies() -> list[Object]:
    objects = [*render("overlays/gpu"), *render("parts/serving"), *render("parts/mlflow")]
    return [o["spec"] for o in objects if o["kind"] == "NetworkPolicy"]


def ours(name: str) -> Peer:
    objects = [*render("overlays/gpu"), *render("parts/serving"), *render("parts/mlflow")]
    (pod,) = [pod for pod in pods(objects) if pod.name.endswith(f"/{name}")]
    return Peer(pod.labels)


def passes(policies: list[Object], source: Peer, target: Peer, port: int) -> bool:
    return sends(policies, source, target, port) and receives(policies, target, source, port)


def sends(policies: list[Object], source: Peer, target: Peer, port: int) -> bool:
    return allowed(policies, source, "egress", "to", target, port)


def receives(policies: list[Object], target: Peer, source: Peer, port: int) -> bool:
    return allowed(policies, target, "ingress", "from", source, port)


def allowed(
    policies: list[Object], pod: Peer, direction: str, field: str, peer: Peer, port: int
) -> bool:
    """Whether the policies allow it: a pod that a policy selects needs a policy that allows."""
    chosen = [
        policy
        for policy in policies
        if direction.title() in policy["policyTypes"] and selects(policy["podSelector"], pod.labels)
    ]
    return not chosen or any(
        port in {entry["port"] for entry in rule["ports"]}
        and (field not in rule or any(selects(p["podSelector"], peer.labels) for p in rule[field]))
        for policy in chosen
        for rule in policy.get(direction, [])
    )


def test_steps_reach_the_services_that_they_need(policies: list[Object]) -> None:
    study, minio = ours("q-chunking-study"), ours("q-chunking-minio")
    for target, port in (
        (study, 5432),
        (minio, 9000),
        (KFP_SERVER, 8887),
        (KFP_SERVER, 8080),
        (OUTSIDE, 443),
        (OUTSIDE, 6443),
        (OUTSIDE, DNS),
    ):
        assert passes(policies, STEP, target, port), (target, port)


def test_steps_reach_nothing_else(policies: list[Object]) -> None:
    dashboard = ours("q-chunking-dashboard")
    assert not passes(policies, STEP, dashboard, 8080)
    assert not passes(policies, STEP, STEP, 8080)
    assert not passes(policies, STEP, KFP_SERVER, 3306)
    assert not passes(policies, STEP, OUTSIDE, 25)
    assert not passes(policies, STRANGER, STEP, 8080)


def test_only_steps_and_the_dashboard_reach_the_database(policies: list[Object]) -> None:
    study = ours("q-chunking-study")
    assert passes(policies, ours("q-chunking-dashboard"), study, 5432)
    for source in (OTHER_RUN, KFP_SERVER, STRANGER, OUTSIDE, ours("q-chunking-minio")):
        assert not receives(policies, study, source, 5432), source
    for target, port in ((OUTSIDE, 443), (KFP_SERVER, 8888), (ours("q-chunking-minio"), 9000)):
        assert not passes(policies, study, target, port), target


def test_no_pod_reaches_the_dashboard(policies: list[Object]) -> None:
    dashboard = ours("q-chunking-dashboard")
    for source in (STEP, OTHER_RUN, KFP_SERVER, STRANGER, OUTSIDE):
        assert not receives(policies, dashboard, source, 8080)
    assert not passes(policies, dashboard, OUTSIDE, 443)


def test_only_clients_of_the_store_reach_it(policies: list[Object]) -> None:
    minio = ours("q-chunking-minio")
    serving = ours("q-chunking-policy")
    for source in (STEP, OTHER_RUN, KFP_SERVER, ours("q-chunking-buckets"), serving):
        assert passes(policies, source, minio, 9000), source
    for source in (STRANGER, OUTSIDE):
        assert not receives(policies, minio, source, 9000), source
    for source in (ours("q-chunking-study"), ours("q-chunking-dashboard")):
        assert not sends(policies, source, minio, 9000), source
    assert not passes(policies, minio, OUTSIDE, 443)


def test_steps_and_kfp_reach_mlflow_which_reaches_database_and_store(
    policies: list[Object],
) -> None:
    mlflow = ours("q-chunking-mlflow")
    for source in (STEP, KFP_SERVER, OTHER_RUN):
        assert passes(policies, source, mlflow, 5000), source
    for source in (STRANGER, OUTSIDE, ours("q-chunking-dashboard")):
        assert not passes(policies, source, mlflow, 5000), source
    assert passes(policies, mlflow, ours("q-chunking-study"), 5432)
    assert passes(policies, mlflow, ours("q-chunking-minio"), 9000)
    assert not passes(policies, mlflow, OUTSIDE, 80)


def test_robots_reach_the_served_policy(policies: list[Object]) -> None:
    serving = ours("q-chunking-policy")
    assert passes(policies, STRANGER, serving, 8080)
    assert not passes(policies, STRANGER, serving, 22)


def test_no_policy_selects_the_pods_of_kfp(policies: list[Object]) -> None:
    assert passes(policies, KFP_SERVER, KFP_SERVER, 3306)
    assert passes(policies, OTHER_RUN, OUTSIDE, 80)
