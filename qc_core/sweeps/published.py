"""The published curves: "Reinforcement Learning with Action Chunking" (arXiv 2507.07969).

`published.csv` holds what the paper's figures show: success rate in [0, 1] with its 95% interval,
over 4 or 5 seeds, every 0.1M steps; 1.0M is the end of offline training. Columns: domain, task,
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
# Where it is not OGBench's usual set that the paper trains on.
_DATA = {"cube-quadruple": "cube-quadruple-play-100m-v0"}


class PublishedPoint(NamedTuple):
    """Success at a step, offline and online steps together, with its 95% interval."""

    step: float
    success: float
    low: float
    high: float


def published_curve(config: Config, method: str) -> list[PublishedPoint]:
    """The paper's curve for a configuration's task and data; empty where it has none.

    Args:
        method: ours, `qc-fql`; the paper's names are the same in capitals.
    """
    place = _place(config)
    text = files("qc_core.sweeps").joinpath("published.csv").read_text(encoding="utf-8")
    return [
        PublishedPoint(
            float(row["step_million"]) * 1e6, float(row["mean"]), float(row["lo"]), float(row["hi"])
        )
        for row in csv.DictReader(text.splitlines())
        if (row["domain"], row["task"]) == place and row["method"].lower() == method
    ]


def _place(config: Config) -> tuple[str, str] | None:
    """Domain and task of the paper, which has scene and puzzle with sparse rewards only."""
    source = config.data.source[0] if len(config.data.source) == 1 else ""
    if match := re.fullmatch(r"robomimic/(\w+)-v0", config.environment):
        whole = Path(source).suffix in (".hdf5", ".h5") and not config.data.filter
        return ("robomimic", match[1]) if whole else None
    match = re.fullmatch(r"(.+)-singletask-(task\d)-v0", config.environment)
    if match is None:
        return None
    family, task = match.groups()
    transform = "sparse" if family in ("scene", "puzzle-3x3") else "none"
    usual = official_name(config.environment)
    # An official file that lies here already has its name.
    data = usual if source == "ogbench" else Path(source.removeprefix("ogbench:")).stem
    same = (data, config.data.reward_transform) == (_DATA.get(family, usual), transform)
    return (family, task) if same else None
