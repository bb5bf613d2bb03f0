"""The edges of the compiled pipeline's graphs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def remove_redundant_edges(pipeline: Any) -> None:
    """Leave only the dependencies of each task that no other dependency waits for.

    KFP's compiler makes a task depend on every task whose output it uses, and KFP's UI draws an
    edge for each. The order of the tasks stays the same.
    """
    specification = pipeline.pipeline_spec
    for component in (specification.root, *specification.components.values()):
        tasks = component.dag.tasks
        before = {name: list(task.dependent_tasks) for name, task in tasks.items()}
        for name, task in tasks.items():
            earlier = set().union(*(_all_before(other, before) for other in before[name]))
            task.ClearField("dependent_tasks")
            task.dependent_tasks.extend(other for other in before[name] if other not in earlier)


def _all_before(name: str, before: Mapping[str, Iterable[str]]) -> set[str]:
    """Return the tasks that a task depends on, directly or not."""
    return set(before[name]).union(*(_all_before(other, before) for other in before[name]))
