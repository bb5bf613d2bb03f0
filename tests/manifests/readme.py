"""The commands of manifests/README.md, run as far as they need no cluster."""

from __future__ import annotations

import base64
import re
import subprocess

import yaml

from tests.manifests.rendering import MANIFESTS

README = MANIFESTS / "README.md"
# Objects are made here and printed; what would go to the API server is printed too.
OFFLINE = """
set -euo pipefail
kubectl() {
  case " $* " in
    *" apply "*) cat; echo --- ;;
    *" --local "*) command kubectl "$@" ;;
    *" create "*) command kubectl "$@" --dry-run=client --output=yaml
                  case " $* " in *" --dry-run=client "*) ;; *) echo --- ;; esac ;;
    *) echo "needs a cluster: kubectl $*" >&2; exit 1 ;;
  esac
}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def documented_secrets() -> dict[str, dict[str, str]]:
    """The Secrets that the README's commands make: decoded content by key, by name."""
    return {name: content for name, (content, _) in _made().items()}


def secret_annotations(secret: str) -> dict[str, str]:
    return _made()[secret][1]


def _made() -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    makes_secrets = re.compile(r"^secret |create secret", re.MULTILINE)
    script = OFFLINE + "".join(block for block in blocks("bash") if makes_secrets.search(block))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = {}
    for o in yaml.safe_load_all(done.stdout):
        if o is not None:
            assert (o["kind"], o["metadata"]["namespace"]) == ("Secret", "kubeflow")
            content = {k: base64.b64decode(v).decode() for k, v in o["data"].items()}
            made[o["metadata"]["name"]] = content, o["metadata"].get("annotations", {})
    return made
