"""A cluster in memory that answers kubectl's commands; the real kubectl merges the patches."""

from __future__ import annotations

import copy
import functools
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import kubernetes_validate
import yaml

from tests.manifests.rendering import Object

KFP = Path(__file__).parents[2] / "manifests" / "data" / "kfp-2.17.yaml"
# Tests replace `subprocess.run` for the product.
_run = subprocess.run


class Refused(Exception):
    """kubectl fails with this message."""


class Cluster:
    """The objects of a namespace.

    Attributes:
        commands: kubectl's arguments that were executed, without the namespace.
        refused: messages by the start of commands that fail.
        kfp_config: the API server's config.json.
        log: what every pod prints.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.commands: list[list[str]] = []
        self.refused: dict[str, str] = {}
        self.kfp_config: Object = {}
        self.log = ""
        for content in yaml.safe_load_all(KFP.read_text()):
            self.put(content)

    def put(self, content: Object) -> None:
        self.objects[f"{content['kind'].lower()}/{content['metadata']['name']}"] = content

    def copy(self) -> dict[str, Object]:
        return copy.deepcopy(self.objects)

    def data(self, reference: str) -> dict[str, str]:
        return self.objects[reference]["data"]

    def variables(self, deployment: str) -> dict[str, Any]:
        (container,) = self.objects[deployment]["spec"]["template"]["spec"]["containers"]
        names = [entry["name"] for entry in container["env"]]
        assert len(names) == len(set(names))
        for entry in container["env"]:
            assert ("value" in entry) != ("valueFrom" in entry), entry
        return {e["name"]: e.get("value", e.get("valueFrom")) for e in container["env"]}

    def changes(self) -> list[list[str]]:
        """Return the commands that are not read-only."""
        return [
            command
            for command in self.commands
            if command[0] in ("patch", "create", "delete") or command[:2] == ["rollout", "restart"]
        ]

    def run(self, command: Sequence[str], *, input: str = "", **_: Any) -> CompletedProcess[str]:
        """Answer a command of kubectl, as `subprocess.run` does."""
        assert command[:2] == ["kubectl", "--namespace"]
        verb, *arguments = command[3:]
        try:
            line = " ".join([verb, *arguments])
            for start, message in self.refused.items():
                if line.startswith(start):
                    raise Refused(message)
            self.commands.append([verb, *arguments])
            output = getattr(self, f"_{verb}")(arguments, input)
        except Refused as error:
            return CompletedProcess(command, 1, "", f"{error}\n")
        return CompletedProcess(command, 0, output or "", "")

    def _config(self, *_: Any) -> str:
        return "test-cluster\n"

    def _rollout(self, *_: Any) -> None:
        return None

    def _get(self, arguments: list[str], _: str) -> str:
        if arguments[0] == "--raw":
            return json.dumps({"multi_user": False, "tag_name": "2.17.0"})
        if "/" in arguments[0]:
            found = [self.objects[name] for name in arguments if name in self.objects]
            if len(found) < 2:
                return json.dumps(found[0]) if found else ""
        else:
            kind = arguments[0].partition(".")[0]
            kind = "networkpolicy" if kind == "networkpolicies" else kind.removesuffix("s")
            found = [o for name, o in self.objects.items() if name.startswith(f"{kind}/")]
        return json.dumps({"kind": "List", "items": found})

    def _exec(self, arguments: list[str], _: str) -> str:
        assert arguments[-2:] == ["cat", "/config/config.json"]
        return json.dumps(self.kfp_config)

    def _logs(self, *_: Any) -> str:
        return self.log

    def _patch(self, arguments: list[str], _: str) -> None:
        name = arguments[0]
        if name not in self.objects:
            raise Refused(f"Error from server (NotFound): {name} not found")
        (option,) = [a for a in arguments if a.startswith("--patch-file=")]
        patch = Path(option.partition("=")[2]).read_text()
        if "--dry-run=server" not in arguments:
            self.objects[name] = json.loads(patched(json.dumps(self.objects[name]), patch))

    def _create(self, _: list[str], content: str) -> None:
        new = json.loads(content)
        if new["kind"] == "Pod":
            kubernetes_validate.validate(new, "1.32", strict=True)
            new["status"] = {"phase": "Succeeded" if "WRONG" not in self.log else "Failed"}
        self.put(new)

    def _delete(self, arguments: list[str], _: str) -> None:
        self.objects.pop(arguments[0], None)


@functools.cache
def patched(content: str, patch: str, how: str = "strategic") -> str:
    """Return an object after the real `kubectl patch --local`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "object.json"
        path.write_text(content)
        command = ["kubectl", "patch", "--local", "-f", str(path), "-o", "json"]
        command += [f"--type={how}", "--patch", patch]
        return _run(command, check=True, capture_output=True, text=True).stdout
