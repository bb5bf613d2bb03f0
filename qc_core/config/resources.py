"""Checks of the pipeline inputs that describe pods: GPUs, cores, memory and nodes."""

from __future__ import annotations

import math
import re
from typing import Any

from qc_core.config.catalog import find_recipe
from qc_core.errors import UsageError
from qc_core.log import log

# The grammar of `resource.Quantity` in Kubernetes: 2, 500m, 1.5Gi, 16e9.
_QUANTITY = re.compile(
    r"(?P<number>[+-]?([0-9]+\.?[0-9]*|\.[0-9]+))"
    r"(?P<suffix>[numkMGTPE]?|[KMGTPE]i|[eE][+-]?[0-9]+)"
)
_FACTORS = {"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3}
_FACTORS |= {letter: 1e3**power for power, letter in enumerate("kMGTPE", 1)}
_FACTORS |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)}
# Cores of a training step unless a person gives others.
DEFAULT_CPUS = "2"
# Of a process that plays episodes, while it makes its environment.
_PROCESS_GIB = 0.6
_MAX_OTHER_PROCESSES = 7

# What sets the number of processes that a step runs at once, by the name of the step.
PROCESSES = {
    "ingest": "--data.workers",
    "pretrain": "QC_THREADS",
    "tune": "--tune.workers",
    "select": "--evaluate.workers",
    "evaluate": "--evaluate.workers",
    "promote": "--evaluate.workers",
}


def parse_quantity(text: str) -> float:
    """Return the number that a Kubernetes quantity means, such as `500m`, `2`, `1.5Gi` or `16e9`.

    Raises:
        UsageError: Kubernetes would not accept the text.
    """
    if match := _QUANTITY.fullmatch(text):
        number, suffix = match["number"], match["suffix"]
        factor = _FACTORS.get(suffix)
        value = float(number + suffix) if factor is None else float(number) * factor
        if math.isfinite(value):
            return value
    raise UsageError(f"{text[:50]!r} is not a Kubernetes quantity, such as 2, 500m or 16Gi")


def training_memory(recipe: str, cpus: str) -> str:
    """Return the memory that a training step of a recipe needs, with its own data.

    Each core after the second adds a process that plays episodes, up to eight of them.

    Args:
        cpus: cores of the step, a Kubernetes quantity.
    """
    others = min(max(int(parse_quantity(cpus)) - 2, 0), _MAX_OTHER_PROCESSES)
    return f"{math.ceil(find_recipe(recipe).memory_gib + others * _PROCESS_GIB)}Gi"


def warn_of_little_memory(recipe: str, cpus: str, memory: str) -> None:
    """Print a warning if a training step gets less memory than its recipe needs.

    Who changes the recipe or the cores in KFP's form may leave the memory as it was.
    """
    needed = training_memory(recipe, cpus)
    if parse_quantity(memory) < parse_quantity(needed):
        log.warning(
            f"resources_memory is {memory}; {recipe} with its own data and {cpus} cores needs "
            f"{needed}: raise it if a training step is killed for memory"
        )


def check_resources(**inputs: Any) -> None:
    """Refuse values that KFP's driver would reject only when the step starts, days into a run.

    Args:
        inputs: value by the name of the pipeline input, such as `resources_gpus`; inputs of other
            kinds are ignored. The names of version 0.2 lack the prefix; pipelines that were
            compiled by it use them.

    Raises:
        UsageError: GPUs are not a number, cores or memory are not a positive Kubernetes quantity,
            or the node selector does not map labels to text.
    """
    for name, value in inputs.items():
        kind = name.removeprefix("resources_")
        if kind == "gpus" and not (value.isascii() and value.isdecimal()):
            raise UsageError(f"{name} must be a number, 0 for none, got {value!r}")
        if kind in ("cpus", "memory") and not _is_positive_quantity(value):
            raise UsageError(
                f"{name} must be a Kubernetes quantity such as 2 or 16Gi, got {value!r}"
            )
        if kind == "node_selector" and not all(isinstance(v, str) for v in value.values()):
            raise UsageError(
                f'{name} must map labels to text, such as {{"pool": "gpu"}}, got {value}'
            )


def _is_positive_quantity(text: str) -> bool:
    try:
        return parse_quantity(text) > 0
    except UsageError:
        return False
