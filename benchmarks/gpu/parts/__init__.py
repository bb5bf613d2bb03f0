"""The parts in the order in which they run, the most valuable answers first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One part.

    Attributes:
        name: also the module in `benchmarks.gpu.parts`, whose `run(context)` does the work.
        seconds: time limit out of twelve minutes.
    """

    name: str
    seconds: float


# 30 of the 720 seconds are for installing wheels and for the summary.
PARTS = {
    part.name: part
    for part in (
        Part("correctness", 80),
        Part("updates", 210),
        Part("profile", 40),
        Part("replay_and_trials", 90),
        Part("inference", 70),
        Part("quickstart", 120),
        Part("learning", 80),
    )
}
LAST = [*PARTS][-1]
