"""What is measured: networks, batch sizes and repeats, at full and at tiny size."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the measurements.

    Attributes:
        networks: hidden layer sizes by name; the first is the reference.
        batches: windows per update; the first is the reference.
        transitions: of the random dataset.
        turns, turn_seconds: of each alternative that is timed.
    """

    networks: dict[str, tuple[int, ...]] = field(
        default_factory=lambda: {"4x512": (512,) * 4, "3x256": (256,) * 3}
    )
    batches: tuple[int, ...] = (256, 1024, 4096)
    transitions: int = 1_000_000
    turns: int = 3
    turn_seconds: float = 0.2
    policy_batches: tuple[int, ...] = (1, 8, 64, 256)
    trials: tuple[int, ...] = (1, 2, 4, 8)


FULL = Sizes()
TINY = Sizes(
    networks={"2x16": (16, 16)},
    batches=(8,),
    transitions=2_000,
    turns=1,
    turn_seconds=0.01,
    policy_batches=(1, 4),
    trials=(1, 2),
)


def sizes(tiny: bool) -> Sizes:
    return TINY if tiny else FULL
