"""Runs the commands of docs/cluster/installing.md that create Secrets, without a cluster."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import tempfile
from pathlib import Path

import yaml

from tests.manifests.rendering import MANIFESTS

README = MANIFESTS.parent / "docs" / "cluster" / "installing.md"
# kubectl creates the objects; a folder replaces the API server.
OFFLINE = """
set -euo pipefail
kubectl() {
  case " $* " in
    *" apply "*) cat >"$OUT/new"; mv "$OUT/new" "$OUT/$(sed -n 's/^  name: //p' "$OUT/new")" ;;
    *" get secret "*) sed -n "s/^  $(expr "$7" : '.*data\\.\\(.*\\)}'): //p" "$OUT/$5" ;;
    *" --local "* | *" --dry-run=client "*) command kubectl "$@" ;;
    *) command kubectl "$@" --dry-run=client -o yaml | kubectl apply -f - ;;
  esac
}
"""


def blocks(language: str) -> list[str]:
    """Return the page's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def documented_secrets() -> dict[str, dict[str, str]]:
    """Return the decoded content, by key, of the Secrets that the page creates, by name."""
    return {
        name: {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        for name, secret in create_secrets().items()
    }


def create_secrets() -> dict[str, dict[str, dict[str, str]]]:
    """Return the Secrets that the page creates, as objects by name."""
    commands = re.compile(r"^secret |create secret", re.MULTILINE)
    script = OFFLINE + "".join(block for block in blocks("bash") if commands.search(block))
    with tempfile.TemporaryDirectory() as created, tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            ["bash", "-c", script],
            env={**os.environ, "OUT": created},
            cwd=empty,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        objects = [yaml.safe_load(path.read_text()) for path in Path(created).iterdir()]
    assert {(o["kind"], o["metadata"]["namespace"]) for o in objects} == {("Secret", "kubeflow")}
    return {o["metadata"]["name"]: o for o in objects}
