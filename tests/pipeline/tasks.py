"""Reads a compiled package."""

from __future__ import annotations

from typing import Any


def tasks_of(package: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns every task of all graphs, by its name."""
    graphs = [package["root"], *package["components"].values()]
    return {
        name: task
        for graph in graphs
        for name, task in graph.get("dag", {}).get("tasks", {}).items()
    }
