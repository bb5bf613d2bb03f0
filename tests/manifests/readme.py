"""The commands of manifests/README.md that make Secrets, run without a cluster."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import tempfile
from pathlib import Path

import yaml

from tests.manifests.rendering import MANIFESTS

README = MANIFESTS / "README.md"
# kubectl makes the objects; a folder stands for the API server that keeps them.
OFFLINE = """
set -euo pipefail
kubectl() {
  case " $* " in
    *" apply "*) cat >"$KEPT/new"; mv "$KEPT/new" "$KEPT/$(sed -n 's/^  name: //p' "$KEPT/new")" ;;
    *" get secret "*) sed -n "s/^  $(expr "$7" : '.*data\\.\\(.*\\)}'): //p" "$KEPT/$5" ;;
    *" --local "* | *" --dry-run=client "*) command kubectl "$@" ;;
    *) command kubectl "$@" --dry-run=client -o yaml | kubectl apply -f - ;;
  esac
}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def documented_secrets() -> dict[str, dict[str, str]]:
    """The Secrets that the README's commands make: decoded content by key, by name."""
    return {
        name: {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        for name, secret in make_secrets().items()
    }


def make_secrets() -> dict[str, dict[str, dict[str, str]]]:
    """The same as objects."""
    commands = re.compile(r"^secret |create secret", re.MULTILINE)
    script = OFFLINE + "".join(block for block in blocks("bash") if commands.search(block))
    with tempfile.TemporaryDirectory() as kept, tempfile.TemporaryDirectory() as here:
        done = subprocess.run(
            ["bash", "-c", script],
            env={**os.environ, "KEPT": kept},
            cwd=here,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        objects = [yaml.safe_load(path.read_text()) for path in Path(kept).iterdir()]
    assert {(o["kind"], o["metadata"]["namespace"]) for o in objects} == {("Secret", "kubeflow")}
    return {o["metadata"]["name"]: o for o in objects}
