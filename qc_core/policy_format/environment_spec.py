"""What a policy must know of the place where it acts: sizes, names, units, limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qc_core.errors import UsageError
from qc_core.files import require_fields

# Of a bound, well inside what a float32 holds.
_LARGEST = 1e38


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
    """The inverse of `as_mapping` (UsageError: fields missing or wrong, bounds that cannot be).

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
    low, high = mapping["action-low"], mapping["action-high"]
    numbers = [*low, *high, mapping["control-interval-seconds"]]
    # No NaN is below anything, and no integer too large for a float.
    if not all(isinstance(number, int | float) and abs(number) < _LARGEST for number in numbers):
        raise UsageError(f"{what} is damaged: bounds and control interval must be finite numbers")
    if not len(low) == len(high) == len(mapping["action-names"]):
        raise UsageError(
            f"{what} is damaged: {len(mapping['action-names'])} actions must have as many bounds, "
            f"got {len(low)} low and {len(high)} high ones"
        )
    if any(below > above for below, above in zip(low, high, strict=True)):
        raise UsageError(f"{what} is damaged: a low bound of the actions lies above the high one")
    return EnvironmentSpec(
        id=mapping["environment"],
        observation_names=tuple(map(str, mapping["observation-names"])),
        action_names=tuple(map(str, mapping["action-names"])),
        action_low=tuple(map(float, mapping["action-low"])),
        action_high=tuple(map(float, mapping["action-high"])),
        episode_limit=mapping["episode-limit"],
        control_interval=float(mapping["control-interval-seconds"]),
    )
