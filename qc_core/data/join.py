"""Several data sets joined to one: the episodes of each, in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from qc_core import documents
from qc_core.data.dataset.dataset import Dataset, DatasetWriter, Episodes
from qc_core.data.replay.shards import parts_of
from qc_core.errors import UsageError
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec

_BLOCK_ROWS = 1 << 18
# What must be the same of all; bounds and limits of a robot's recordings are their own.
_SAME = ("observation_names", "action_names", "control_interval")


def join(parts: Sequence[tuple[str, Dataset]], folder: Path) -> dict[str, Any]:
    """Write the episodes of all data sets into a staging folder, and return its `dataset.json`.

    Args:
        parts: data sets of one environment, with the names by which messages know them.

    Raises:
        UsageError: one does not fit the first; the message names it.
    """
    writer = DatasetWriter(folder, _spec_of(parts))
    for _, dataset in parts:
        for part in parts_of(dataset, _BLOCK_ROWS):
            writer.append(
                Episodes(
                    observations=part.observations,
                    actions=part.actions,
                    rewards=part.rewards,
                    masks=part.masks,
                    terminals=part.terminals,
                )
            )
    sources = tuple(source for _, dataset in parts for source in dataset.source.parts)
    manifests = [dataset.manifest for _, dataset in parts]
    simulators = {manifest["mujoco-version"] for manifest in manifests}
    return writer.finish(
        documents.to_json(DataSource(kind="joined", sources=sources)),
        mujoco_version=simulators.pop() if len(simulators) == 1 else None,
        reward_convention=manifests[0]["reward-convention"],
    )


def _spec_of(parts: Sequence[tuple[str, Dataset]]) -> EnvironmentSpec:
    first, head = parts[0]
    spec, convention = head.spec, head.manifest["reward-convention"]
    for name, dataset in parts[1:]:
        other = dataset.spec
        for field in _SAME:
            if getattr(other, field) != getattr(spec, field):
                what = field.replace("_", " ")
                raise UsageError(f"{name} does not fit {first}: its {what} differ")
        if dataset.manifest["reward-convention"] != convention:
            raise UsageError(
                f"{name} does not fit {first}, whose rewards are {convention!r}: "
                f"its own are {dataset.manifest['reward-convention']!r}"
            )
        spec = msgspec.structs.replace(
            spec,
            action_low=tuple(map(min, spec.action_low, other.action_low)),
            action_high=tuple(map(max, spec.action_high, other.action_high)),
            episode_limit=max(spec.episode_limit, other.episode_limit),
        )
    return spec
