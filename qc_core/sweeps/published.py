"""The published curves of "Reinforcement Learning with Action Chunking" (arXiv 2507.07969).

`published.csv` contains the curves of the paper's figures: success rate in [0, 1] with its 95%
interval over 4 or 5 seeds, every 0.1M steps. Offline training ends at 1.0M. Columns: domain, task,
method, step_million, mean, lo, hi, n.
"""

from __future__ import annotations

import csv
import re
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from qc_core.config.settings import Config
from qc_core.data.formats.download import official_name

SOURCE = "Li, Zhou, Levine (arXiv 2507.07969)"
# The paper's dataset, where it is not OGBench's default for the environment.
_PAPER_DATASETS = {"cube-quadruple": "cube-quadruple-play-100m-v0"}


class PublishedPoint(NamedTuple):
    """Success rate and its 95% interval, in [0, 1], after so many offline and online steps."""

    step: float
    success: float
    low: float
    high: float


def published_curve(config: Config, method: str) -> list[PublishedPoint]:
    """Return the paper's curve for a configuration's task and data; empty if the paper has none.

    Args:
        method: a method's name, such as `qc-fql`; matched without regard to case.
    """
    task = _paper_task(config)
    text = files("qc_core.sweeps").joinpath("published.csv").read_text(encoding="utf-8")
    return [
        PublishedPoint(
            float(row["step_million"]) * 1e6, float(row["mean"]), float(row["lo"]), float(row["hi"])
        )
        for row in csv.DictReader(text.splitlines())
        if (row["domain"], row["task"]) == task and row["method"].lower() == method
    ]


def _paper_task(config: Config) -> tuple[str, str] | None:
    """Return the paper's domain and task; None if it lacks the task or used other data.

    The paper uses sparse rewards for scene and puzzle-3x3.
    """
    source = config.data.source[0] if len(config.data.source) == 1 else ""
    if match := re.fullmatch(r"robomimic/(\w+)-v0", config.environment):
        # Assumes that it is the paper's file; its content is not compared.
        uses_complete_file = Path(source).suffix in (".hdf5", ".h5") and not config.data.filter
        return ("robomimic", match[1]) if uses_complete_file else None
    match = re.fullmatch(r"(.+)-singletask-(task\d)-v0", config.environment)
    if match is None:
        return None
    family, task = match.groups()
    transform = "sparse" if family in ("scene", "puzzle-3x3") else "none"
    default = official_name(config.environment)
    # A downloaded official file has the dataset's name.
    data = default if source == "ogbench" else Path(source.removeprefix("ogbench:")).stem
    matches_paper = (data, config.data.reward_transform) == (
        _PAPER_DATASETS.get(family, default),
        transform,
    )
    return (family, task) if matches_paper else None
