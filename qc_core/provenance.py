"""The code, the package versions and the run that produce an artifact."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

COMMIT_VARIABLE = "QC_GIT_COMMIT"
IMAGE_VARIABLE = "QC_IMAGE"
RUN_ID_VARIABLE = "QC_RUN_ID"
_OLD_RUN_ID_VARIABLE = "QC_RUN"
_PACKAGES = ("torch", "mujoco", "ogbench", "onnx", "onnxruntime", "numpy")


def git_commit() -> str:
    """Return the git commit of this code, from the image or the clone, or 'unknown'.

    It ends in '-dirty' if the clone has uncommitted changes.
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


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def image() -> str:
    """Return the name of the container image from $QC_IMAGE, or 'unknown'."""
    return os.environ.get(IMAGE_VARIABLE) or "unknown"


def run_id() -> str | None:
    """Return the id of the run from $QC_RUN_ID (or the old $QC_RUN), or None."""
    return os.environ.get(RUN_ID_VARIABLE) or os.environ.get(_OLD_RUN_ID_VARIABLE) or None


def hardware() -> str:
    """Return the processor with its usable cores, and the GPU if this process uses one."""
    model = platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"{model}, {cores} core{'s' if cores != 1 else ''}"
    # This module must not import torch, which takes seconds.
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        found += f", {torch.cuda.get_device_name()}"
    return found


def versions() -> dict[str, str]:
    """Return the versions of the installed packages that can change how a policy behaves."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
