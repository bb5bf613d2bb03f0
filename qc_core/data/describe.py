"""Describes a source of episodes: reads and counts it, and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from qc_core.config.settings import ROBOT, Config
from qc_core.data.clipping import Clipping
from qc_core.data.dataset.dataset import Dataset, open_dataset
from qc_core.data.formats.locate import kind_of
from qc_core.data.formats.npz_file import NpzFile
from qc_core.data.formats.ogbench_npz import (
    OPTIONAL,
    REQUIRED,
    complete_episodes,
    npz_files,
    require_vectors,
)
from qc_core.data.formats.source import Source, transitions_of
from qc_core.data.formats.steps_file import is_steps
from qc_core.data.ingest import open_source
from qc_core.data.replaying import ReplayResult, replay
from qc_core.documents import Document
from qc_core.errors import UsageError
from qc_core.policy_format.environment_spec import EnvironmentSpec

_BLOCK_ROWS = 1 << 20


class Size(Document, frozen=True, kw_only=True):
    """Number of transitions and episodes."""

    transitions: int
    episodes: int


class EpisodeLengths(Document, frozen=True, kw_only=True):
    """Transitions of the shortest, the median and the longest episode."""

    min: int
    median: float
    max: int


class SourceDescription(Document, frozen=True, kw_only=True):
    """The content of a source. None: the source does not report the value.

    The fields that are unset for npz files without an environment are missing in its JSON.

    Attributes:
        kind: the format.
        name: the path or the id.
        environment: id of the environment or robot.
        reward_range: lowest and highest reward.
        solved_episodes: episodes in which at least one transition solves the task.
        filters: named selections of episodes, with the number of episodes in each.
        validation: size of the held-out episodes; None without any.
        source: details that depend on the format.
        notes: limitations that a person should know before using the data.
        replay: how the environment differs from recorded episodes; unset if none were played.
    """

    kind: str
    name: str
    environment: str | None
    observation_names: tuple[str, ...] | UnsetType = UNSET
    action_names: tuple[str, ...] | UnsetType = UNSET
    observation_size: int
    action_size: int
    action_low: list[float]
    action_high: list[float]
    episode_limit: int | UnsetType = UNSET
    control_interval_seconds: float | UnsetType = UNSET
    transitions: int
    episodes: int
    episode_lengths: EpisodeLengths
    reward_range: tuple[float, float] | None
    solved_episodes: int | None
    filters: dict[str, int]
    validation: Size | None
    source: dict[str, str | int]
    notes: list[str]
    replay: ReplayResult | UnsetType = UNSET


def describe_source(
    source: str, config: Config | None = None, environment: str | None = None, replays: int = 0
) -> SourceDescription:
    """Describe the episodes that `ingest` would write from a source.

    Args:
        source: a path, or `minari:ID`.
        config: how to read it.
        environment: that the data are read for; None if only the source may name it.
        replays: number of episodes to play again in the environment.

    Raises:
        UsageError: the source does not exist or is damaged.
    """
    kind, path, config = kind_of(source), Path(source), config or Config()
    if kind in ("collect", "ogbench", "store", "remote", "claim"):
        raise UsageError(f"{source}: qc describe takes a path or minari:ID")
    if kind == "dataset":
        if replays:
            raise UsageError(f"{source}: a dataset folder cannot be played again, its source can")
        return _describe_dataset(open_dataset(path))
    if kind == "npz" and not is_steps(path, environment):
        if not replays:
            return _describe_npz(path)
        if environment is None:
            raise UsageError(f"{source}: --replay needs the environment: give --environment ID")
    return _described(open_source(kind, source, config, environment), replays)


def _described(source: Source, replays: int) -> SourceDescription:
    description = _describe(source)
    if not replays:
        return description
    if source.replayable is None or not source.spec.id or source.spec.id.startswith(ROBOT):
        raise UsageError(
            f"{source.name} cannot be played again: it records no seed and no simulator state, or "
            "no simulator is known; give --environment ID if the file does not name it"
        )
    # Read before the environment is made: the file may lack the starts.
    episodes = list(islice(source.replayable(), replays))
    result = replay(source.spec.id, episodes, source.spec.observation_names)
    return msgspec.structs.replace(description, replay=result)


class _Counter:
    """Counts episodes block by block; an episode may span several blocks."""

    def __init__(self) -> None:
        self._transitions = self._episodes = 0
        self._rewards = (np.inf, -np.inf)
        self._ends: list[np.ndarray] = []
        self._solved: list[np.ndarray] = []

    def add(self, terminals: np.ndarray) -> None:
        """Count transitions [N] of a source without rewards."""
        ends = np.flatnonzero(terminals)
        self._ends.append(ends + self._transitions)
        self._transitions += len(terminals)
        self._episodes += len(ends)

    def add_rewarded(self, terminals: np.ndarray, rewards: np.ndarray, solved: np.ndarray) -> None:
        """Count transitions; `solved` is bool [N]."""
        low, high = self._rewards
        self._rewards = min(low, float(rewards.min())), max(high, float(rewards.max()))
        solved = np.searchsorted(np.flatnonzero(terminals), np.flatnonzero(solved))
        self._solved.append(np.unique(solved) + self._episodes)
        self.add(terminals)

    @property
    def size(self) -> Size:
        return Size(transitions=self._transitions, episodes=self._episodes)

    def fields(self) -> dict[str, Any]:
        """Return the counted fields of a SourceDescription."""
        lengths = np.diff(np.concatenate(self._ends), prepend=-1)
        solved = np.concatenate(self._solved) if self._solved else None
        return {
            "transitions": self._transitions,
            "episodes": self._episodes,
            "episode_lengths": EpisodeLengths(
                min=int(lengths.min()), median=float(np.median(lengths)), max=int(lengths.max())
            ),
            "reward_range": None if solved is None else self._rewards,
            "solved_episodes": None if solved is None else len(np.unique(solved)),
        }


def _describe(source: Source) -> SourceDescription:
    counter = _Counter()
    clipping = Clipping(source.name, source.spec)
    for block in source.read():
        clipping(block.actions)
        counter.add_rewarded(block.terminals, block.rewards, block.solved)
    counted = counter.fields()
    if not source.reports_success:
        counted["solved_episodes"] = None
    low, high = counted["reward_range"]
    unrewarded = [f"every reward is {low:g}: no step is rewarded"] if low == high else []
    return SourceDescription(
        kind=source.kind,
        name=source.name,
        **_spec_fields(source.spec),
        **counted,
        filters=dict(source.filters),
        validation=None,
        source=dict(source.origin),
        notes=[*source.notes, *clipping.notes(), *unrewarded],
    )


def _describe_dataset(dataset: Dataset) -> SourceDescription:
    counter = _Counter()
    for start in range(0, dataset.transitions, _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        solved = dataset.masks[rows] == 0
        counter.add_rewarded(dataset.terminals[rows], dataset.rewards[rows], solved)
    counted, held_out = counter.fields(), dataset.validation
    if dataset.info.solved_episodes is not None or not dataset.info.reports_success:
        counted["solved_episodes"] = dataset.info.solved_episodes
    return SourceDescription(
        kind="dataset",
        name=str(dataset.folder),
        **_spec_fields(dataset.spec),
        **counted,
        filters={},
        validation=held_out
        and Size(transitions=held_out.transitions, episodes=held_out.info.episodes),
        source={"digest": dataset.digest},
        notes=[],
    )


def _describe_npz(path: Path) -> SourceDescription:
    """Describe npz files, which contain neither environment nor rewards."""
    files, held_out = npz_files(path)
    counter, array_fields = _count_npz(files)
    return SourceDescription(
        kind="npz",
        name=str(path),
        environment=None,
        **array_fields,
        **counter.fields(),
        filters={},
        validation=_count_npz(held_out)[0].size if held_out else None,
        source={"files": len(files)},
        notes=["rewards come from the task of the environment that it is ingested for"],
    )


def _count_npz(files: Sequence[Path]) -> tuple[_Counter, dict[str, Any]]:
    """Count episodes, and return the fields about observations and actions."""
    counter = _Counter()
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
            for block in complete_episodes(npz):
                low = np.minimum(low, block["actions"].min(axis=0))
                high = np.maximum(high, block["actions"].max(axis=0))
                counter.add(transitions_of(block["terminals"])[1])
    observation_size, action_size = sizes or (0, 0)
    return counter, {
        "observation_size": observation_size,
        "action_size": action_size,
        "action_low": low.tolist(),
        "action_high": high.tolist(),
    }


def _spec_fields(spec: EnvironmentSpec) -> dict[str, Any]:
    return {
        "environment": spec.id or None,
        "observation_names": spec.observation_names,
        "action_names": spec.action_names,
        "observation_size": spec.observation_size,
        "action_size": spec.action_size,
        "action_low": list(spec.action_low),
        "action_high": list(spec.action_high),
        "episode_limit": spec.episode_limit,
        "control_interval_seconds": spec.control_interval,
    }
