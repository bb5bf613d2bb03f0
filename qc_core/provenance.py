"""Which code, on which versions, produced something."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

COMMIT_VARIABLE = "QC_GIT_COMMIT"
IMAGE_VARIABLE = "QC_IMAGE"
RUN_VARIABLE = "QC_RUN"
_PACKAGES = ("torch", "mujoco", "ogbench", "onnx", "onnxruntime", "numpy")


def git_commit() -> str:
    """The commit that runs: what the image says, else the clone's, else 'unknown'.

    A clone with changes that no commit holds says so with '-dirty'.
    """
    if commit := os.environ.get(COMMIT_VARIABLE):
        return commit
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return "unknown"
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def image() -> str:
    """The container image that runs, as it says itself, else 'unknown'."""
    return os.environ.get(IMAGE_VARIABLE) or "unknown"


def run_id() -> str | None:
    """Return the id of the run that this process belongs to, if the environment has one."""
    return os.environ.get(RUN_VARIABLE) or None


def versions() -> dict[str, str]:
    """Versions of the packages whose behaviour a policy depends on, those installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
