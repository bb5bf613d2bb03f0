"""The environment of the parts: missing packages, the source tree, and no network."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from benchmarks.gpu.results import Results

REPOSITORY = Path(__file__).resolve().parents[2]
WHEELS = REPOSITORY / ".gpu-wheels"
# The packages that travel as wheels.
PACKAGES = Path(__file__).resolve().parent / "wheels.txt"
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
    results.set_head(installed=installed, **{"source-sha256": source_digest(REPOSITORY)})
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
        # A second run on the same machine does not compile the JAX updates again.
        "JAX_COMPILATION_CACHE_DIR": str(work / "jax"),
    }


def require_packages(packages: Path = PACKAGES, wheels: Path = WHEELS) -> None:
    """Exit if a listed package is neither installed nor in the folder of wheels (SystemExit).

    Otherwise every part would start and fail, one after the other.
    """
    needed = names_in(packages) - {_package(wheel) for wheel in wheels.glob("*.whl")}
    if missing := sorted(name for name in needed if not _is_installed(name)):
        raise SystemExit(
            f"missing packages: {', '.join(missing)} (not in {wheels} either); run `make "
            "gpu-wheels` on a machine with network and bring the folder along"
        )


def names_in(path: Path) -> set[str]:
    """The package names of a requirements file."""
    lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return {normalized(re.split(r"[=<>\[ ]", line)[0]) for line in lines if line}


def normalized(name: str) -> str:
    """A package's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def source_digest(root: Path) -> str:
    """The SHA-256 of the product's and the kit's code: identifies it where there is no clone."""
    digest = hashlib.sha256()
    for path in sorted(
        p for name in ("qc_core", "benchmarks") for p in (root / name).rglob("*.py")
    ):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _install_missing(site: Path) -> list[str]:
    """Install the wheels whose package this Python lacks; return their file names."""
    wheels = [wheel for wheel in sorted(WHEELS.glob("*.whl")) if not _is_installed(_package(wheel))]
    if wheels and not site.exists():
        # An interrupted installation is not mistaken for a complete one.
        staging = site.with_name("site-staging")
        shutil.rmtree(staging, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        flags = ["--no-index", "--no-deps", "--no-cache-dir", "--no-compile", "--target"]
        subprocess.run([*pip, *flags, str(staging), *map(str, wheels)], check=True)
        staging.rename(site)
    return [wheel.name for wheel in wheels]


def _package(wheel: Path) -> str:
    return normalized(wheel.name.split("-")[0])


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
