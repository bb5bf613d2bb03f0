"""The dataset: a folder of memory-mappable arrays and `dataset.json`.

An episode of T transitions has T + 1 rows of `observations`; its last row is only a next
observation, so each observation is stored once. The other arrays have one row per transition.
Transition i starts in `observations[observation_index[i]]` and ends in the next row.

Shapes: N transitions, R observation rows (N plus one per episode), O observation, A action.

    observations       [R, O] float32   raw units of the environment
    observation_index  [N]    int32
    actions            [N, A] float32   environment units, within its bounds
    rewards            [N]    float32
    masks              [N]    float32   0 if the transition ends the task (no bootstrap), else 1
    terminals          [N]    float32   1 on the last transition of an episode, else 0
"""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from qc_core import documents
from qc_core.data.dataset.columns import ARRAYS, BAD_HEADER, Column, open_columns, widths_of
from qc_core.data.dataset.info import (
    INFO_FILE,
    ArrayInfo,
    DatasetExtent,
    DatasetInfo,
    digest_of,
    read_info,
)
from qc_core.errors import UsageError
from qc_core.files import reading, sha256_of
from qc_core.policy_format.contract import ObservationRange
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec, is_same_environment

VALIDATION_FOLDER = "validation"
# Not part of the digest, because nothing is learned from it.
SOLVED_FILE = "solved.npy"
REWARD_OF_STATE = "r(s): the reward of the state in which the action is taken"
REWARD_OF_SOURCE = "the source's own"


@dataclass(frozen=True, slots=True)
class Episodes:
    """Complete episodes, one after the other.

    Shapes are those of the module's docstring; `observations` has T + 1 rows per episode.

    Attributes:
        successes: bool [N], transitions that solve the task; None if these have mask 0.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    masks: np.ndarray
    terminals: np.ndarray
    successes: np.ndarray | None = None

    @property
    def solved(self) -> np.ndarray:
        """Which transitions solve the task, bool [N]."""
        return self.masks == 0 if self.successes is None else self.successes

    @property
    def solved_counts(self) -> np.ndarray:
        """Number of transitions that solve the task, int [episodes]."""
        return counts_by_episode(self.terminals, self.solved)


def counts_by_episode(terminals: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """Return the number of marked transitions (bool [N]) of each episode, int [episodes]."""
    ends = np.flatnonzero(terminals)
    return np.bincount(np.searchsorted(ends, np.flatnonzero(marked)), minlength=len(ends))


class DatasetWriter:
    """Appends episodes to a dataset folder; the memory needed is that of one append.

    The folder must be a staging folder: it is not a dataset until `finish` returns.
    """

    def __init__(self, folder: Path, spec: EnvironmentSpec) -> None:
        self._folder, self._spec = folder, spec
        folder.mkdir(parents=True, exist_ok=True)
        self._columns = {
            name: Column(folder, name, width) for name, width in widths_of(spec).items()
        }
        self._episodes = self._terminated = 0
        self._solved: list[np.ndarray] = []
        self._rewards = (float("inf"), -float("inf"))
        self._lowest_O = np.full(spec.observation_size, np.inf, np.float32)
        self._highest_O = -self._lowest_O

    def append(self, episodes: Episodes, solved_counts: np.ndarray | None = None) -> None:
        """Append complete episodes.

        Args:
            solved_counts: transitions of each episode that solve the task, int [episodes], if
                `episodes` does not tell them.
        """
        ends = episodes.terminals > 0
        # Each finished episode has one more observation than transitions.
        earlier_episodes = np.concatenate([[0], np.cumsum(ends)[:-1]])
        first_row = self._columns["observations"].rows
        index = first_row + np.arange(len(ends)) + earlier_episodes
        self._columns["observations"].write(episodes.observations)
        self._columns["observation_index"].write(index)
        self._columns["actions"].write(episodes.actions)
        self._columns["rewards"].write(episodes.rewards)
        self._columns["masks"].write(episodes.masks)
        self._columns["terminals"].write(episodes.terminals)
        observations = np.asarray(episodes.observations, np.float32)
        self._lowest_O = np.minimum(self._lowest_O, observations.min(axis=0))
        self._highest_O = np.maximum(self._highest_O, observations.max(axis=0))
        self._episodes += int(ends.sum())
        self._solved.append(episodes.solved_counts if solved_counts is None else solved_counts)
        self._terminated += int((episodes.masks == 0).sum())
        rewards = np.float32(episodes.rewards)
        self._rewards = (
            min(self._rewards[0], float(rewards.min())),
            max(self._rewards[1], float(rewards.max())),
        )

    def finish(
        self,
        source: DataSource,
        mujoco_version: str | None = None,
        reward_convention: str = REWARD_OF_STATE,
        reports_success: bool = True,
    ) -> DatasetInfo:
        """Close the arrays, and write and return `dataset.json`.

        Args:
            source: origin of the episodes.
            mujoco_version: of the simulator that made them; None if the source does not name it.
            reward_convention: the state to which the reward of a transition belongs.
            reports_success: whether the source tells which transitions succeed.
        """
        solved = np.concatenate(self._solved).astype(np.int32)
        np.save(self._folder / SOLVED_FILE, solved)
        for column in self._columns.values():
            column.close()
        paths = [self._folder / f"{name}.npy" for name in self._columns]
        with ThreadPoolExecutor(len(paths), thread_name_prefix="checksums") as hashing:
            checksums = hashing.map(sha256_of, paths)
            arrays = {
                name: ArrayInfo(shape=column.shape, dtype=column.dtype.name, sha256=checksum)
                for (name, column), checksum in zip(self._columns.items(), checksums, strict=True)
            }
        spec = self._spec
        info = DatasetInfo(
            environment=spec.id,
            observation_names=spec.observation_names,
            action_names=spec.action_names,
            action_low=spec.action_low,
            action_high=spec.action_high,
            episode_limit=spec.episode_limit,
            control_interval_seconds=spec.control_interval,
            transitions=self._columns["rewards"].rows,
            episodes=self._episodes,
            solved_transitions=int(solved.sum()),
            solved_episodes=int((solved > 0).sum()) if reports_success else None,
            reports_success=reports_success,
            terminated_transitions=self._terminated,
            reward_range=self._rewards,
            observation_range=ObservationRange(
                low=tuple(self._lowest_O.tolist()), high=tuple(self._highest_O.tolist())
            ),
            reward_convention=reward_convention,
            mujoco_version=mujoco_version,
            source=source,
            arrays=arrays,
            digest=digest_of(arrays),
        )
        documents.write(self._folder / INFO_FILE, info)
        return info


@dataclass(frozen=True, slots=True)
class Dataset:
    """An open dataset folder; its arrays are memory-mapped.

    Attributes:
        info: the content of `dataset.json`.
        spec: of the environment or robot that the episodes come from.
    """

    folder: Path
    info: DatasetInfo
    spec: EnvironmentSpec
    observations: np.ndarray
    observation_index: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    masks: np.ndarray
    terminals: np.ndarray

    @property
    def digest(self) -> str:
        """SHA-256 over the checksums of all arrays."""
        return self.info.digest

    @property
    def source(self) -> DataSource:
        """Origin of the episodes, with their number, digest and the checksums of source files.

        For joined datasets, `parts` lists the origin of each.
        """
        info = self.info
        return msgspec.structs.replace(
            info.source,
            transitions=info.transitions,
            episodes=info.episodes,
            digest=info.digest,
        )

    @property
    def transitions(self) -> int:
        return len(self.rewards)

    @property
    def extent(self) -> DatasetExtent:
        return self.info.extent

    @property
    def solved_counts(self) -> np.ndarray:
        """Number of transitions that solve the task, int [episodes].

        In datasets of earlier releases, these are those that end it.
        """
        path = self.folder / SOLVED_FILE
        if not path.exists():
            return counts_by_episode(self.terminals, self.masks == 0)
        try:
            counts = np.load(path, allow_pickle=False)
        except BAD_HEADER as error:
            raise UsageError(f"{path} is damaged: ingest the data again") from error
        if counts.shape != (self.info.episodes,) or counts.dtype != np.int32:
            raise UsageError(f"{path} must have one number per episode: ingest the data again")
        return counts

    @property
    def validation(self) -> Dataset | None:
        """The held-out episodes that came with the data, if any."""
        folder = self.folder / VALIDATION_FOLDER
        return open_dataset(folder) if folder.is_dir() else None


def open_dataset(folder: Path, *, verify: bool = False) -> Dataset:
    """Open a dataset folder.

    Args:
        verify: also compare every array with its checksum (reads the complete dataset).

    Raises:
        UsageError: not a dataset, an unknown schema version, or arrays that do not match
            `dataset.json`; the message names the file.
    """
    with reading(folder):
        is_folder = folder.is_dir()
    if not is_folder:
        raise UsageError(f"{folder} is not a dataset folder")
    info = read_info(folder / INFO_FILE)
    spec = info.spec
    arrays = open_columns(folder, spec, transitions=info.transitions, episodes=info.episodes)
    if verify:
        _verify(folder, info)
    return Dataset(folder=folder, info=info, spec=spec, **arrays)


def _verify(folder: Path, info: DatasetInfo) -> None:
    for name in ARRAYS:
        path = folder / f"{name}.npy"
        if sha256_of(path) != info.arrays[name].sha256:
            raise UsageError(f"{path} does not match {INFO_FILE}: its checksum differs")
    if info.digest != digest_of(info.arrays):
        raise UsageError(f"{folder / INFO_FILE} is damaged: its digest is not that of the arrays")


def require_match(dataset: Dataset, spec: EnvironmentSpec) -> None:
    """Refuse a dataset whose sizes or rewards do not match the environment (UsageError)."""
    got = (dataset.observations.shape[1], dataset.actions.shape[1])
    if got != (spec.observation_size, spec.action_size):
        raise UsageError(
            f"{dataset.folder}: {spec.id} has observations of {spec.observation_size} and actions "
            f"of {spec.action_size} numbers, the dataset {got[0]} and {got[1]}"
        )
    require_environment(str(dataset.folder), dataset.spec.id, spec.id)


def require_environment(what: str, got: str, wanted: str) -> None:
    """Refuse data of a different environment than the requested one (UsageError).

    Args:
        what: the data, for error messages.
    """
    if not is_same_environment(got, wanted):
        raise UsageError(
            f"{what} holds rewards for {got}, not {wanted}: give --environment {shlex.quote(got)} "
            "or other data"
        )
