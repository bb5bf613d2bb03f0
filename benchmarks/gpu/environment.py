"""The environment of the parts: missing packages, the source tree, and no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from benchmarks.gpu.results import Results

REPOSITORY = Path(__file__).resolve().parents[2]
WHEELS = REPOSITORY / ".gpu-wheels"
GUARD = Path(__file__).resolve().parent / "guard"
ATTEMPTS_VARIABLE = "QC_GPU_NETWORK_ATTEMPTS"


def part_environment(work: Path, results: Results) -> dict[str, str]:
    """Install the missing wheels below `work` and return the environment for every part.

    The product runs from source, so that the versions it pins do not matter. The guard on
    `PYTHONPATH` refuses network connections in every Python process.
    """
    site = work / "site"
    installed = _install_missing(site)
    attempts = work / "network-attempts.txt"
    attempts.unlink(missing_ok=True)
    results.set_head(installed=installed)
    before = os.environ.get("PYTHONPATH")
    paths = [str(GUARD), str(REPOSITORY), str(site), *([before] if before else [])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        ATTEMPTS_VARIABLE: str(attempts),
        # The store and the study of the parts that run the command line.
        "QC_STORE": str(work / "store"),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


def _install_missing(site: Path) -> list[str]:
    """Install the wheels whose package this Python lacks; return their file names."""
    wheels = [wheel for wheel in sorted(WHEELS.glob("*.whl")) if not _has(wheel)]
    if wheels and not site.exists():
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        flags = ["--no-index", "--no-deps", "--no-cache-dir", "--target"]
        subprocess.run([*pip, *flags, str(site), *map(str, wheels)], check=True)
    return [wheel.name for wheel in wheels]


def _has(wheel: Path) -> bool:
    name = re.sub(r"[-_.]+", "-", wheel.name.split("-")[0])
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
