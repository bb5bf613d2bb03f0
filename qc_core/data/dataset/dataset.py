"""The data set: a folder of memory-mappable arrays and `dataset.json`.

An episode of T transitions is T + 1 rows of `observations`, the last one only a next
observation, so no observation is stored twice. The other arrays have one row per transition;
`observation_index` leads from a transition to its row: transition i starts in
`observations[observation_index[i]]` and ends in the row behind it.

Shapes: N transitions, R observation rows (N plus one per episode), O observation, A action.

    observations       [R, O] float32   raw units of the environment
    observation_index  [N]    int32
    actions            [N, A] float32   environment units, within its bounds
    rewards            [N]    float32
    masks              [N]    float32   0 where the task is solved (no bootstrap), else 1
    terminals          [N]    float32   1 on the last transition of an episode, else 0
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qc_core import documents
from qc_core.data.dataset.columns import DTYPES, Column, open_columns, widths_of
from qc_core.errors import UsageError
from qc_core.files import read_json, reading, require_fields, sha256_of, write_json
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec

SCHEMA_VERSION = 2
MANIFEST = "dataset.json"
VALIDATION = "validation"
REWARD_OF_STATE = "r(s): the reward of the state in which the action is taken"
ARRAYS = tuple(DTYPES)


@dataclass(frozen=True, slots=True)
class Episodes:
    """Whole episodes, one behind the other.

    Shapes as in the module's legend; `observations` holds T + 1 rows per episode.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    masks: np.ndarray
    terminals: np.ndarray


class DatasetWriter:
    """Appends episodes to a data set folder; memory stays that of one append.

    The folder must be a staging folder: until `finish` returns it is not a data set.
    """

    def __init__(self, folder: Path, spec: EnvironmentSpec) -> None:
        self._folder, self._spec = folder, spec
        folder.mkdir(parents=True, exist_ok=True)
        self._columns = {
            name: Column(folder, name, width) for name, width in widths_of(spec).items()
        }
        self._episodes = self._solved = 0
        self._rewards = (float("inf"), -float("inf"))
        self._lowest_O = np.full(spec.observation_size, np.inf, np.float32)
        self._highest_O = -self._lowest_O

    def append(self, episodes: Episodes) -> None:
        """Add whole episodes, the last of which has ended."""
        ends = episodes.terminals > 0
        # Behind each terminal transition lies one observation that starts none.
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
        self._solved += int((episodes.masks == 0).sum())
        rewards = np.float32(episodes.rewards)
        self._rewards = (
            min(self._rewards[0], float(rewards.min())),
            max(self._rewards[1], float(rewards.max())),
        )

    def finish(
        self,
        source: Mapping[str, Any],
        mujoco_version: str | None = None,
        reward_convention: str = REWARD_OF_STATE,
    ) -> dict[str, Any]:
        """Close the arrays, write `dataset.json` and return its content.

        Args:
            source: where the episodes come from.
            mujoco_version: of the simulator that made them, None if the source does not say.
            reward_convention: to which state a transition's reward belongs.
        """
        for column in self._columns.values():
            column.close()
        paths = [self._folder / f"{name}.npy" for name in self._columns]
        with ThreadPoolExecutor(len(paths), thread_name_prefix="checksums") as hashing:
            checksums = hashing.map(sha256_of, paths)
            arrays = {
                name: {
                    "shape": list(column.shape),
                    "dtype": column.dtype.name,
                    "sha256": checksum,
                }
                for (name, column), checksum in zip(self._columns.items(), checksums, strict=True)
            }
        manifest = {
            "schema-version": SCHEMA_VERSION,
            **documents.to_json(self._spec),
            "units": "the environment's own, not normalised",
            "transitions": self._columns["rewards"].rows,
            "episodes": self._episodes,
            "solved-transitions": self._solved,
            "reward-range": list(self._rewards),
            "observation-range": {
                "low": self._lowest_O.tolist(),
                "high": self._highest_O.tolist(),
            },
            "reward-convention": reward_convention,
            "mujoco-version": mujoco_version,
            "source": dict(source),
            "arrays": arrays,
            "digest": _digest(arrays),
        }
        write_json(self._folder / MANIFEST, manifest)
        return manifest


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set folder, opened; its arrays are memory-mapped and read when touched."""

    folder: Path
    manifest: dict[str, Any]
    observations: np.ndarray
    observation_index: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    masks: np.ndarray
    terminals: np.ndarray

    @property
    def spec(self) -> EnvironmentSpec:
        """Of the environment or robot that the episodes come from."""
        return documents.convert(self.manifest, EnvironmentSpec, str(self.folder / MANIFEST))

    @property
    def digest(self) -> str:
        """SHA-256 over the checksums of all arrays."""
        return self.manifest["digest"]

    @property
    def source(self) -> DataSource:
        """Where the episodes come from, with their number, digest and the files' checksums."""
        sizes = {name: self.manifest[name] for name in ("transitions", "episodes", "digest")}
        content = {**self.manifest["source"], **sizes}
        return documents.convert(content, DataSource, str(self.folder / MANIFEST))

    @property
    def transitions(self) -> int:
        return len(self.rewards)

    @property
    def extent(self) -> dict[str, Any]:
        """How much there is, and the lowest and highest value of each observation.

        Data sets that were ingested before these were noted have None for them.
        """
        manifest = self.manifest
        return {
            "episodes": manifest["episodes"],
            "transitions": manifest["transitions"],
            "observation-range": manifest.get("observation-range"),
        }

    @property
    def validation(self) -> Dataset | None:
        """The held-out episodes that came with the data, if any."""
        folder = self.folder / VALIDATION
        return open_dataset(folder) if folder.is_dir() else None


def open_dataset(folder: Path, *, verify: bool = False) -> Dataset:
    """Open a data set folder.

    Args:
        verify: also compare every array with its checksum (reads the whole data set).

    Raises:
        UsageError: not a data set, an unknown schema version, or arrays that do not match
            their manifest; the message names the file.
    """
    with reading(folder):
        is_folder = folder.is_dir()
    if not is_folder:
        raise UsageError(f"{folder} is not a data set folder")
    path = folder / MANIFEST
    manifest = read_json(path)
    require_fields(manifest, {"schema-version": int}, str(path))
    version = manifest["schema-version"]
    if version != SCHEMA_VERSION:
        raise UsageError(
            f"{folder}: data set schema {SCHEMA_VERSION} is needed, got {version}: ingest it anew"
        )
    spec = documents.convert(manifest, EnvironmentSpec, str(path))
    fields = {"digest": str, "transitions": int, "episodes": int, "source": dict, "arrays": dict}
    origin = {"reward-convention": str, "mujoco-version": (str, type(None))}
    require_fields(manifest, {**fields, **origin}, str(path))
    documents.convert(manifest["source"], DataSource, str(path))
    for name in ARRAYS:
        require_fields(manifest["arrays"].get(name), {"sha256": str}, f"{path}, array {name!r}")
    arrays = open_columns(
        folder, spec, transitions=manifest["transitions"], episodes=manifest["episodes"]
    )
    for name in ARRAYS if verify else ():
        path = folder / f"{name}.npy"
        if sha256_of(path) != manifest["arrays"][name]["sha256"]:
            raise UsageError(f"{path} is not what {MANIFEST} says (checksum differs)")
    if verify and manifest["digest"] != _digest(manifest["arrays"]):
        raise UsageError(f"{folder / MANIFEST} is damaged: its digest is not that of the arrays")
    return Dataset(folder=folder, manifest=manifest, **arrays)


def require_match(dataset: Dataset, spec: EnvironmentSpec) -> None:
    """Refuse a data set of other sizes than the environment's, or with another's rewards."""
    got = (dataset.observations.shape[1], dataset.actions.shape[1])
    if got != (spec.observation_size, spec.action_size):
        raise UsageError(
            f"{dataset.folder}: {spec.id} has observations of {spec.observation_size} and actions "
            f"of {spec.action_size} numbers, the data set {got[0]} and {got[1]}"
        )
    require_environment(str(dataset.folder), dataset.spec.id, spec.id)


def require_environment(what: str, held: str, wanted: str) -> None:
    """Refuse data of another environment than the one that is asked for.

    Args:
        what: the data, as the message names them.
    """
    if held != wanted:
        raise UsageError(
            f"{what} holds rewards for {held}, not {wanted}: "
            f"give --environment {held} or other data"
        )


def _digest(arrays: dict[str, dict[str, Any]]) -> str:
    lines = "".join(f"{name} {arrays[name]['sha256']}\n" for name in ARRAYS)
    return hashlib.sha256(lines.encode()).hexdigest()
