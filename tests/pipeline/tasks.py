"""Reading a compiled package."""

from __future__ import annotations

from typing import Any


def tasks_of(package: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every task by its name, in whatever graph it stands."""
    graphs = [package["root"], *package["components"].values()]
    return {
        name: task
        for graph in graphs
        for name, task in graph.get("dag", {}).get("tasks", {}).items()
    }
