"""Reads and changes objects of a cluster with kubectl, which also handles its credentials."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from typing import Any

from qc_core.errors import RunError, UsageError
from qc_core.scratch import scratch_folder

Object = dict[str, Any]
# Kind and name, `deployment/ml-pipeline`.
Objects = Mapping[str, Object]

_REQUEST_TIMEOUT = "--request-timeout=30s"
_KUBECTL_SECONDS = 60.0


class Forbidden(UsageError):
    """The person's account in the cluster lacks a right."""


class Kubectl:
    """kubectl with one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def context(self) -> str:
        """Return the name of the current context (UsageError: there is none)."""
        return self.run("config", "current-context").strip()

    def get(self, *references: str) -> Objects:
        """Return the objects that exist, by `kind/name` as in the arguments."""
        text = self.run("get", *references, "--ignore-not-found", "--output=json", _REQUEST_TIMEOUT)
        by_name = {
            f"{found['kind'].lower()}/{found['metadata']['name']}": found for found in _items(text)
        }
        return {name: by_name[name] for name in references if name in by_name}

    def list(self, kind: str, *options: str) -> list[Object]:
        """Return all objects of a kind; none if the cluster does not know the kind."""
        try:
            return _items(self.run("get", kind, *options, "--output=json", _REQUEST_TIMEOUT))
        except RunError as error:
            if "the server doesn't have a resource type" in str(error):
                return []
            raise

    def raw(self, path: str) -> Any:
        """Return the JSON that a path of the cluster's API answers with."""
        return json.loads(self.run("get", "--raw", path, _REQUEST_TIMEOUT))

    def patch(self, reference: str, patch: Object, *, dry_run: bool = False) -> None:
        """Merge a strategic patch into an object; fields that it does not name keep their values.

        Args:
            dry_run: let the server check the patch without storing the result.
        """
        # A file, because other users of this machine can read command lines.
        with scratch_folder("patch") as folder:
            path = folder / "patch.json"
            path.write_text(json.dumps(patch))
            options = ["--dry-run=server"] if dry_run else []
            self.run(
                *("patch", reference, "--type=strategic", f"--patch-file={path}"),
                *(*options, "--output=name", _REQUEST_TIMEOUT),
            )

    def create(self, content: Object) -> None:
        """Create an object."""
        self.run("create", "--filename=-", "--output=name", stdin=json.dumps(content))

    def delete(self, reference: str) -> None:
        """Delete an object if it exists."""
        self.run("delete", reference, "--ignore-not-found", "--output=name")

    def restart(self, deployment: str) -> None:
        """Restart the pods of a Deployment."""
        self.run("rollout", "restart", f"deployment/{deployment}")

    def wait_for_rollout(self, deployment: str, seconds: float) -> None:
        """Wait until a Deployment runs its newest settings (RunError: not within the limit)."""
        try:
            self.run(
                *("rollout", "status", f"deployment/{deployment}", f"--timeout={seconds:g}s"),
                seconds=seconds + _KUBECTL_SECONDS,
            )
        except RunError as error:
            raise RunError(
                f"deployment {deployment} is not ready after {seconds:g} s: {error}; "
                f"look at kubectl -n {self.namespace} describe deployment {deployment}"
            ) from error

    def stream(self, *arguments: str) -> subprocess.Popen[str]:
        """Start kubectl and return its process, whose output can be read line by line."""
        return subprocess.Popen(
            ["kubectl", "--namespace", self.namespace, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C ends following, which then ends kubectl.
            start_new_session=True,
        )

    def run(self, *arguments: str, stdin: str = "", seconds: float = _KUBECTL_SECONDS) -> str:
        """Run kubectl and return its output.

        Raises:
            UsageError: kubectl is not installed, or the account lacks a right (`Forbidden`).
            RunError: kubectl failed; the message has its last line.
        """
        command = ["kubectl", "--namespace", self.namespace, *arguments]
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, timeout=seconds
            )
        except FileNotFoundError as error:
            raise UsageError(
                "kubectl is not installed: install it and choose the cluster's context"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise RunError(f"the cluster did not answer kubectl within {seconds:g} s") from error
        if done.returncode == 0:
            return done.stdout
        lines = done.stderr.strip().splitlines() or [f"kubectl ended with {done.returncode}"]
        message = re.sub(r"^(error|Error from server \(\w+\)): ", "", lines[-1])
        if "(Forbidden)" in lines[-1]:
            raise Forbidden(f"this account may not do that in the cluster: {message}")
        raise RunError(f"kubectl {arguments[0]}: {message}")


def _items(text: str) -> list[Object]:
    """Return the objects of kubectl's JSON, which is empty, one object, or a list."""
    if not text.strip():
        return []
    content = json.loads(text)
    return content.get("items", [content])
