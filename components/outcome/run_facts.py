"""Asks KFP and Kubernetes about the run that this pod belongs to.

KFP passes its last step neither the name of the run, nor which step failed, nor why. KFP's API
knows the name, the schedule and whether a person ended the run. Argo's Workflow knows what ended
each pod. Both answers are optional: rights or a network policy may be missing, and a local run has
neither.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import urllib3

from qc_core.config.resources import PROCESSES
from qc_core.log import log
from qc_core.notify.run_status import RunFacts

# Kubernetes mounts these files into every pod.
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# The account that has no right beyond what the steps need.
_OWN_ACCOUNT = "q-chunking-runner"
KFP = "http://ml-pipeline:8888"
KUBERNETES = "https://kubernetes.default.svc"
_TIMEOUT = urllib3.Timeout(connect=5, read=15)
_RETRIES = urllib3.Retry(2, backoff_factor=0.5)
# `run-x.root.exit-handler-1.pretrain.executor(0)`: a task in the path of a node.
_TASK = re.compile(r"\.([a-z0-9-]+?)(-driver)?(\(\d+\))?(?=\.|$)")
# Tasks that contain no work of their own.
_STRUCTURE = re.compile(
    r"(root|executor|exit-handler|condition|condition-branches|for-loop|iteration)\b.*"
)
_EXIT_STEP = "outcome"
_FAILED = ("Failed", "Error")
_TRAINING_STEPS = ("pretrain", "tune")


def read_run_facts(run_id: str) -> RunFacts:
    """Return what KFP and Kubernetes know of the run; nothing outside a cluster."""
    if not ACCOUNT.exists():
        return RunFacts()
    run = _get(f"{KFP}/apis/v2beta1/runs/{quote(run_id)}")
    schedule_id = run.get("recurring_run_id")
    schedule = _get(f"{KFP}/apis/v2beta1/recurringruns/{quote(schedule_id)}") if schedule_id else {}
    states = [entry.get("state") for entry in run.get("state_history") or ()]
    step, error = find_failure(_nodes(run_id))
    return RunFacts(
        name=run.get("display_name") or "",
        schedule=schedule.get("display_name") or "",
        cancelled="CANCELING" in states,
        step=step,
        error=error,
        warning=_warning(run.get("service_account") or _OWN_ACCOUNT),
    )


def place_of_log(step: str) -> str:
    """Return where a person finds the log of a step, in Markdown; '' is an unknown step."""
    if not ACCOUNT.exists():
        return "`run.log` in the run folder"
    which = "the step that failed" if not step else f"the step `{step}`"
    namespace = (ACCOUNT / "namespace").read_text().strip()
    selector = f"q-chunking/step={step}" if step else "q-chunking/step"
    return (
        f"the tab *Logs* of {which} in the graph, or `kubectl -n {namespace} logs "
        f"--selector={selector} --container=main --prefix --tail=100`"
    )


def _warning(account: str) -> str:
    """Return what to know about the service account of a run's pods; '' if it is our own."""
    if account == _OWN_ACCOUNT:
        return ""
    return (
        f"the pods of this run used the service account {account}, which may read more than they "
        f"need; choose {_OWN_ACCOUNT} when a run is created, or make it the default with "
        "qc cluster connect --default-account"
    )


def find_failure(nodes: Mapping[str, Any]) -> tuple[str, str]:
    """Return the step that failed first for good, and what ended it, from the nodes of a Workflow.

    Returns:
        The name of the step, and a message if the step itself cannot have reported its error: its
        pod was killed or lost, or it did not start. Both are empty if no pod failed.
    """
    repeated = {
        child: node
        for node in nodes.values()
        if node.get("type") == "Retry"
        for child in node.get("children") or ()
    }
    failed = []
    for node_id, node in nodes.items():
        if node.get("type") != "Pod" or node.get("phase") not in _FAILED:
            continue
        whole = repeated.get(node_id)
        attempts = (whole or {}).get("children") or [node_id]
        # Of a step that was repeated, the last attempt counts, and only if all have failed.
        if (whole or node).get("phase") in _FAILED and attempts[-1] == node_id:
            failed.append(node)
    failed.sort(key=lambda node: node.get("finishedAt") or "")
    for node in failed:
        step, is_driver = _step_of(node)
        if step != _EXIT_STEP:
            return step, _explanation(step, node.get("message") or "", is_driver)
    return "", ""


def _step_of(node: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the innermost task that a node belongs to, and whether the node is KFP's driver."""
    name = node.get("name") or ""
    tasks = [(found[1], bool(found[2])) for found in _TASK.finditer(name)]
    steps = [task for task in tasks if not _STRUCTURE.fullmatch(task[0])]
    return steps[-1] if steps else (tasks[-1] if tasks else ("", False))


def _explanation(step: str, message: str, is_driver: bool) -> str:
    """Return Argo's message for people; '' if the step ended by itself with an error."""
    if is_driver:
        return f"KFP could not start it, its driver ended with: {message or 'no message'}"
    if "OOMKilled" in message:
        remedy = "; raise the input resources_memory"
        if step not in _TRAINING_STEPS:
            # The limit of the other steps is not an input.
            option = PROCESSES.get(step)
            remedy = f"; lower {option} in the input overrides" if option else ""
        return f"it used more memory than its limit ({message}){remedy}"
    if "pod deleted" in message:
        return f"its pod was lost, perhaps with its node ({message})"
    if re.search(r"exit code (137|143)\b", message):
        return f"it was killed ({message})"
    return "" if re.search(r"exit code \d+", message) else message


def _nodes(run_id: str) -> Mapping[str, Any]:
    """Return the nodes of the run's Workflow by id; nothing without the right to read it."""
    namespace = (ACCOUNT / "namespace").read_text().strip()
    token = (ACCOUNT / "token").read_text().strip()
    found = _get(
        f"{KUBERNETES}/apis/argoproj.io/v1alpha1/namespaces/{namespace}/workflows"
        f"?labelSelector={quote(f'pipeline/runid={run_id}')}",
        headers={"Authorization": f"Bearer {token}"},
        ca_certs=str(ACCOUNT / "ca.crt"),
    )
    for workflow in found.get("items") or ():
        status = workflow.get("status") or {}
        if compressed := status.get("compressedNodes"):
            return json.loads(gzip.decompress(base64.b64decode(compressed)))
        return status.get("nodes") or {}
    return {}


def _get(url: str, headers: Mapping[str, str] | None = None, **options: Any) -> dict[str, Any]:
    """Return the JSON object at an address; {} and a message in the log if there is none."""
    try:
        http = urllib3.PoolManager(timeout=_TIMEOUT, retries=_RETRIES, **options)
        answer = http.request("GET", url, headers=headers)
        if answer.status == 200:
            content = json.loads(answer.data)
            return content if isinstance(content, dict) else {}
        reason = str(answer.status)
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        reason = type(error).__name__
    log.info(f"{url.partition('?')[0]} does not answer ({reason})")
    return {}
