"""Reads a compiled package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

# PyYAML's parser in Python takes seconds for a package.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_package(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the pipeline specification and the Kubernetes document of a package."""
    package, platform = yaml.load_all(path.read_text(), _LOADER)
    return package, platform


def tasks_of(package: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns every task of all graphs, by its name."""
    graphs = [package["root"], *package["components"].values()]
    return {
        name: task
        for graph in graphs
        for name, task in graph.get("dag", {}).get("tasks", {}).items()
    }
