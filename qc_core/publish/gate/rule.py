"""What the rules of the gate have in common: games in, a decision and its figures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from qc_core.envs.episode_result import EpisodeResult, counted_steps
from qc_core.statistics import Estimate, anytime_mean

CHAMPION, CHALLENGER = "champion", "challenger"
# Undecided is no promotion either: all episodes were played and showed nothing.
Decision = Literal["passed", "failed", "undecided"]
Games = Mapping[str, Sequence[EpisodeResult]]


class Rule(Protocol):
    """Decides on numbers alone, and as often as it is asked: its error rate holds all the same."""

    @property
    def text(self) -> str:
        """The rule in words."""
        ...

    def decide(self, games: Games) -> Decision:
        """What the games so far show, by policy and in the order of the seeds."""
        ...

    def figures(self, games: Games) -> dict[str, Any]:
        """How the policies compare, and under `reason` in words."""
        ...


def success_of(outcomes: Sequence[EpisodeResult]) -> Estimate:
    """Success rate, its interval good for any time of looking."""
    return anytime_mean([outcome.success for outcome in outcomes], 0, 1)


def result_of(outcomes: Sequence[EpisodeResult], limit: int) -> dict[str, Any]:
    """Success and steps of one policy with such intervals, its return, and every episode."""
    steps = anytime_mean([counted_steps(outcome, limit) for outcome in outcomes], 0, limit)
    return {
        "success": success_of(outcomes)._asdict(),
        "steps": steps._asdict(),
        # Without an interval: returns have no bounds.
        "mean-return": float(np.mean([outcome.episode_return for outcome in outcomes])),
        "outcomes": [outcome.as_dict() for outcome in outcomes],
    }


def rate_words(rate: Estimate) -> str:
    """`94% (82% to 99%)`."""
    return f"{rate.value:.0%} ({rate.low:.0%} to {rate.high:.0%})"
