"""What a policy must know about the environment in which it acts: sizes, names, units, limits."""

from __future__ import annotations

from msgspec import field

from qc_core.documents import Document, InvalidDocument

# Bounds and intervals of larger magnitude do not fit a float32.
LARGEST = 1e38


def gymnasium_id(environment: str) -> str:
    """Return the id without its package: `Name-v0?k=1` for `package:Name-v0?k=1`."""
    name, mark, settings = environment.partition("?")
    return f"{name.rpartition(':')[2]}{mark}{settings}"


def package_of(environment: str) -> str | None:
    """Return the package that registers the environment, or None if the id does not name it."""
    package, colon, _ = environment.partition("?")[0].rpartition(":")
    return package if colon else None


def is_same_environment(first: str, second: str) -> bool:
    """Return whether two ids name one environment; the package is only where it is registered."""
    return gymnasium_id(first) == gymnasium_id(second)


class EnvironmentSpec(Document, frozen=True, kw_only=True):
    """Sizes and units of an environment or a robot.

    Attributes:
        id: Gymnasium id, `Name-v0` or `package:Name-v0`, or the name of a robot that has no
            simulator, `robot/NAME`.
        action_low, action_high: bounds of each action, finite.
        episode_limit: control steps after which an episode is truncated.
        control_interval: seconds per control step.

    Raises:
        InvalidDocument: the bounds are not finite, too few, too many or in the wrong order.
    """

    id: str = field(name="environment")
    observation_names: tuple[str, ...]
    action_names: tuple[str, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    episode_limit: int
    control_interval: float = field(name="control-interval-seconds")

    def __post_init__(self) -> None:
        low, high = self.action_low, self.action_high
        # Comparisons with NaN are false.
        if not all(abs(number) < LARGEST for number in (*low, *high, self.control_interval)):
            raise InvalidDocument(
                f"{self.id}: action bounds and control interval must be finite numbers"
            )
        if not len(low) == len(high) == len(self.action_names):
            raise InvalidDocument(
                f"{self.id}: {len(self.action_names)} actions must have as many bounds, "
                f"got {len(low)} low and {len(high)} high ones"
            )
        if any(below > above for below, above in zip(low, high, strict=True)):
            raise InvalidDocument(f"{self.id}: a low bound of the actions is above the high bound")

    @property
    def observation_size(self) -> int:
        return len(self.observation_names)

    @property
    def action_size(self) -> int:
        return len(self.action_names)
