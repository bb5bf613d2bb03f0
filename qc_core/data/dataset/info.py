"""`dataset.json`: the document that describes the arrays of a dataset and their origin."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qc_core import documents
from qc_core.data.dataset.columns import ARRAYS
from qc_core.documents import Document
from qc_core.errors import UsageError
from qc_core.policy_format.contract import ObservationRange
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec

SCHEMA_VERSION = 2
INFO_FILE = "dataset.json"


class ArrayInfo(Document, frozen=True, kw_only=True):
    """One array: its shape, its NumPy type and the SHA-256 of its file."""

    shape: tuple[int, ...]
    dtype: str
    sha256: str


class DatasetExtent(Document, frozen=True, kw_only=True):
    """Size of a dataset, and the range of its observations (None for those of older releases)."""

    episodes: int
    transitions: int
    observation_range: ObservationRange | None


class DatasetInfo(Document, frozen=True, kw_only=True):
    """The content of `dataset.json`.

    Attributes:
        environment: id of the environment or robot; with the next six fields, `spec`.
        units: of observations and actions.
        solved_transitions: number of transitions that solve the task.
        solved_episodes: number of episodes with such a transition; None if the source does not
            tell success, or for datasets of older releases.
        reports_success: whether the source tells success.
        terminated_transitions: number of transitions with mask 0; None for datasets of older
            releases.
        reward_range: lowest and highest reward.
        observation_range: None for datasets of older releases.
        reward_convention: the state to which the reward of a transition belongs.
        mujoco_version: of the simulator that made the episodes; None if the source does not name
            it.
        source: origin of the episodes.
        arrays: by name.
        digest: SHA-256 over the checksums of all arrays.
    """

    schema_version: int = SCHEMA_VERSION
    environment: str
    observation_names: tuple[str, ...]
    action_names: tuple[str, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    episode_limit: int
    control_interval_seconds: float
    units: str = "the environment's own, not normalised"
    transitions: int
    episodes: int
    solved_transitions: int
    solved_episodes: int | None = None
    reports_success: bool = True
    terminated_transitions: int | None = None
    reward_range: tuple[float, float]
    observation_range: ObservationRange | None = None
    reward_convention: str
    mujoco_version: str | None
    source: DataSource
    arrays: dict[str, ArrayInfo]
    digest: str

    def __post_init__(self) -> None:
        _ = self.spec  # Checks the action bounds.

    @classmethod
    def converted_from_older(cls, content: dict[str, Any], what: str) -> dict[str, Any]:
        version = content.get("schema-version")
        if version != SCHEMA_VERSION:
            raise UsageError(
                f"{what}: dataset schema {SCHEMA_VERSION} is needed, got {version!r}: "
                "ingest the data again"
            )
        return content

    @property
    def spec(self) -> EnvironmentSpec:
        """The environment or robot that the episodes come from."""
        return EnvironmentSpec(
            id=self.environment,
            observation_names=self.observation_names,
            action_names=self.action_names,
            action_low=self.action_low,
            action_high=self.action_high,
            episode_limit=self.episode_limit,
            control_interval=self.control_interval_seconds,
        )

    @property
    def extent(self) -> DatasetExtent:
        return DatasetExtent(
            episodes=self.episodes,
            transitions=self.transitions,
            observation_range=self.observation_range,
        )


def read_info(path: Path) -> DatasetInfo:
    """Read and check `dataset.json`.

    Raises:
        UsageError: not a dataset's document, or another schema version.
    """
    info = documents.read(path, DatasetInfo)
    if missing := [name for name in ARRAYS if name not in info.arrays]:
        raise UsageError(f"{path} is damaged: array {missing[0]!r} is missing")
    return info


def digest_of(arrays: Mapping[str, ArrayInfo]) -> str:
    """Return the digest of a dataset: SHA-256 over the checksums of its arrays."""
    lines = "".join(f"{name} {arrays[name].sha256}\n" for name in ARRAYS)
    return hashlib.sha256(lines.encode()).hexdigest()


def unrewarded(info: DatasetInfo) -> str:
    """Return a warning if nothing in a dataset is rewarded, so that only cloning can learn.

    Returns:
        An empty string if some rewards differ, or if the data say which actions end the task.
    """
    low, high = info.reward_range
    ends_task = info.terminated_transitions is None or info.terminated_transitions > 0
    if low != high or (low > 0 and ends_task):
        return ""
    remedy = "record rewards or success, or choose what counts as success with --data.success"
    return (
        f"WARNING: every reward in the data is {low:g}, no step is rewarded: the critic learns "
        f"nothing from them, and the policy only imitates the data; {remedy}"
    )
