"""Joins several datasets of one environment into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from qc_core.data.dataset.dataset import Dataset, DatasetWriter, Episodes
from qc_core.data.dataset.info import DatasetInfo
from qc_core.data.replay.shards import iter_shards
from qc_core.errors import UsageError
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec

_BLOCK_ROWS = 1 << 18
# These must be equal; bounds and limits may differ between recordings of the same robot.
_SAME = ("observation_names", "action_names", "control_interval")


def join(parts: Sequence[tuple[str, Dataset]], folder: Path) -> DatasetInfo:
    """Write the episodes of all datasets, in order, into a staging folder.

    Args:
        parts: (name for error messages, dataset), all of one environment.

    Raises:
        UsageError: a dataset does not fit the first one; the message names it.
    """
    writer = DatasetWriter(folder, _spec_of(parts))
    for _, dataset in parts:
        solved_counts, first = dataset.solved_counts, 0
        for block in iter_shards(dataset, _BLOCK_ROWS):
            episodes = Episodes(
                observations=block.observations,
                actions=block.actions,
                rewards=block.rewards,
                masks=block.masks,
                terminals=block.terminals,
            )
            last = first + int((block.terminals > 0).sum())
            writer.append(episodes, solved_counts[first:last])
            first = last
    sources = tuple(source for _, dataset in parts for source in dataset.source.parts)
    infos = [dataset.info for _, dataset in parts]
    versions = {dataset.info.mujoco_version for _, dataset in parts}
    return writer.finish(
        DataSource(kind="joined", sources=sources),
        mujoco_version=versions.pop() if len(versions) == 1 else None,
        reward_convention=parts[0][1].info.reward_convention,
        reports_success=all(info.reports_success for info in infos),
    )


def _spec_of(parts: Sequence[tuple[str, Dataset]]) -> EnvironmentSpec:
    first_name, first = parts[0]
    spec, convention = first.spec, first.info.reward_convention
    for name, dataset in parts[1:]:
        other = dataset.spec
        for field in _SAME:
            if getattr(other, field) != getattr(spec, field):
                what = field.replace("_", " ")
                raise UsageError(f"{name} does not fit {first_name}: its {what} differ")
        if dataset.info.reward_convention != convention:
            raise UsageError(
                f"{name} does not fit {first_name}, whose rewards are {convention!r}: "
                f"its own are {dataset.info.reward_convention!r}"
            )
        spec = msgspec.structs.replace(
            spec,
            action_low=tuple(map(min, spec.action_low, other.action_low)),
            action_high=tuple(map(max, spec.action_high, other.action_high)),
            episode_limit=max(spec.episode_limit, other.episode_limit),
        )
    return spec
