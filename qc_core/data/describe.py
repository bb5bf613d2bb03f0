"""What is inside a source of episodes: read and counted, and nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qc_core.data.dataset.dataset import Dataset, open_dataset
from qc_core.data.formats.lerobot import open_lerobot
from qc_core.data.formats.locate import kind_of, name_after
from qc_core.data.formats.minari_dataset import open_minari
from qc_core.data.formats.npz_file import NpzFile
from qc_core.data.formats.ogbench_npz import (
    OPTIONAL,
    REQUIRED,
    npz_files,
    require_vectors,
    whole_episodes,
)
from qc_core.data.formats.robomimic_hdf5 import open_robomimic
from qc_core.data.formats.source import Source, transitions_of
from qc_core.errors import UsageError
from qc_core.policy_format.environment_spec import EnvironmentSpec

_BLOCK_ROWS = 1 << 20


def describe_source(source: str) -> dict[str, Any]:
    """Sizes, names, bounds, lengths, rewards and successes of what `--data` may name.

    Episodes are those that `ingest` would write. What a source does not say is None.

    Args:
        source: a path, or `minari:ID`.

    Raises:
        UsageError: nothing is there, or it is damaged.
    """
    kind, path = kind_of(source), Path(source)
    if kind in ("collect", "ogbench", "store"):
        raise UsageError(f"{source}: qc describe takes a path or minari:ID")
    if kind == "data set":
        return _of_dataset(open_dataset(path))
    if kind == "npz":
        return _of_npz(path)
    if kind == "minari":
        return _of_source(open_minari(name_after(source)))
    return _of_source(open_robomimic(path) if kind == "robomimic" else open_lerobot(path))


class _Count:
    """Episodes counted block by block, wherever the blocks are cut."""

    def __init__(self) -> None:
        self._transitions = self._episodes = 0
        self._rewards = (np.inf, -np.inf)
        self._ends: list[np.ndarray] = []
        self._solved: list[np.ndarray] = []

    def add(self, terminals: np.ndarray) -> None:
        """Count transitions [N] of a source that does not say how they are rewarded."""
        ends = np.flatnonzero(terminals)
        self._ends.append(ends + self._transitions)
        self._transitions += len(terminals)
        self._episodes += len(ends)

    def add_rewarded(self, terminals: np.ndarray, rewards: np.ndarray, masks: np.ndarray) -> None:
        """Count transitions [N]."""
        low, high = self._rewards
        self._rewards = min(low, float(rewards.min())), max(high, float(rewards.max()))
        solved = np.searchsorted(np.flatnonzero(terminals), np.flatnonzero(masks == 0))
        self._solved.append(np.unique(solved) + self._episodes)
        self.add(terminals)

    @property
    def sizes(self) -> dict[str, int]:
        return {"transitions": self._transitions, "episodes": self._episodes}

    def result(self) -> dict[str, Any]:
        lengths = np.diff(np.concatenate(self._ends), prepend=-1)
        solved = np.concatenate(self._solved) if self._solved else None
        return {
            **self.sizes,
            "episode-lengths": {
                "min": int(lengths.min()),
                "median": float(np.median(lengths)),
                "max": int(lengths.max()),
            },
            "reward-range": None if solved is None else list(self._rewards),
            "solved-episodes": None if solved is None else len(np.unique(solved)),
        }


def _of_source(source: Source) -> dict[str, Any]:
    count = _Count()
    for block in source.read():
        count.add_rewarded(block.terminals, block.rewards, block.masks)
    return {
        **_head(source.kind, source.name, source.spec),
        **count.result(),
        "filters": dict(source.filters),
        "validation": None,
        "source": dict(source.origin),
        "notes": list(source.notes),
    }


def _of_dataset(dataset: Dataset) -> dict[str, Any]:
    count = _Count()
    for start in range(0, dataset.transitions, _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        count.add_rewarded(dataset.terminals[rows], dataset.rewards[rows], dataset.masks[rows])
    held_out = dataset.validation
    return {
        **_head("data set", str(dataset.folder), dataset.spec),
        **count.result(),
        "filters": {},
        "validation": None
        if held_out is None
        else {"transitions": held_out.transitions, "episodes": held_out.manifest["episodes"]},
        "source": {"digest": dataset.digest},
        "notes": [],
    }


def _of_npz(path: Path) -> dict[str, Any]:
    """These files name neither environment nor rewards: OGBench makes rewards for a task."""
    files, held_out = npz_files(path)
    count, arrays = _count_npz(files)
    return {
        "kind": "npz",
        "name": str(path),
        "environment": None,
        **arrays,
        **count.result(),
        "filters": {},
        "validation": _count_npz(held_out)[0].sizes if held_out else None,
        "source": {"files": len(files)},
        "notes": ["rewards come from the task of the environment that it is ingested for"],
    }


def _count_npz(files: Sequence[Path]) -> tuple[_Count, dict[str, Any]]:
    """Episodes, and what the arrays themselves say of observations and actions."""
    count = _Count()
    low, high = np.array(np.inf), np.array(-np.inf)
    sizes: tuple[int, ...] | None = None
    for file in files:
        with NpzFile(file, REQUIRED, OPTIONAL) as npz:
            require_vectors(file, npz.shapes)
            own = npz.shapes["observations"] + npz.shapes["actions"]
            if sizes not in (None, own):
                raise UsageError(
                    f"{file} has observations and actions of {own} numbers, "
                    f"the files before it of {sizes}"
                )
            sizes = own
            for block in whole_episodes(npz):
                low = np.minimum(low, block["actions"].min(axis=0))
                high = np.maximum(high, block["actions"].max(axis=0))
                count.add(transitions_of(block["terminals"])[1])
    observation_size, action_size = sizes or (0, 0)
    return count, {
        "observation-size": observation_size,
        "action-size": action_size,
        "action-low": low.tolist(),
        "action-high": high.tolist(),
    }


def _head(kind: str, name: str, spec: EnvironmentSpec) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        **spec.as_mapping(),
        "observation-size": spec.observation_size,
        "action-size": spec.action_size,
    }
