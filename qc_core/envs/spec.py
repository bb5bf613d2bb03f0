"""What a policy must know of the place where it acts: sizes, names, units, limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qc_core.files import require_fields


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvironmentSpec:
    """Sizes and units of an environment or a robot.

    Attributes:
        id: Gymnasium id, or the name of a robot for which there is no simulator.
        action_low, action_high: bounds per action, finite.
        episode_limit: control steps after which an episode is cut off.
        control_interval: seconds per control step.
    """

    id: str
    observation_names: tuple[str, ...]
    action_names: tuple[str, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    episode_limit: int
    control_interval: float

    @property
    def observation_size(self) -> int:
        return len(self.observation_names)

    @property
    def action_size(self) -> int:
        return len(self.action_names)

    def as_mapping(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "environment": self.id,
            "observation-names": list(self.observation_names),
            "action-names": list(self.action_names),
            "action-low": list(self.action_low),
            "action-high": list(self.action_high),
            "episode-limit": self.episode_limit,
            "control-interval-seconds": self.control_interval,
        }


def spec_from(mapping: Any, what: str) -> EnvironmentSpec:
    """The inverse of `as_mapping` (WrongUse: fields missing or of the wrong kind).

    Args:
        what: the file, as messages name it.
    """
    lists = {"observation-names", "action-names", "action-low", "action-high"}
    require_fields(
        mapping,
        {
            "environment": str,
            "episode-limit": int,
            "control-interval-seconds": (int, float),
            **dict.fromkeys(lists, list),
        },
        what,
    )
    return EnvironmentSpec(
        id=mapping["environment"],
        observation_names=tuple(map(str, mapping["observation-names"])),
        action_names=tuple(map(str, mapping["action-names"])),
        action_low=tuple(map(float, mapping["action-low"])),
        action_high=tuple(map(float, mapping["action-high"])),
        episode_limit=mapping["episode-limit"],
        control_interval=float(mapping["control-interval-seconds"]),
    )
