"""What the rules of the gate have in common: episodes in, a decision and a comparison out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from qc_core.envs.episode_result import counted_steps
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.statistics import Estimate, anytime_mean

CHAMPION, CHALLENGER = "champion", "challenger"
# If the decision is still "undecided" after all episodes, the challenger is not promoted.
Decision = Literal["passed", "failed", "undecided"]
# The episodes of each policy, in the order of the seeds.
Episodes = Mapping[str, Sequence[EpisodeResult]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the policies compare, with intervals that are valid after every episode.

    Attributes:
        reason: the decision and its numbers, for people.
        steps_saved: champion's steps minus challenger's, per episode.
        success_gain: challenger's success rate minus champion's.
        net_wins: episodes that the challenger wins minus those it loses, per episode.
    """

    reason: str
    steps_saved: Estimate | None = None
    success_gain: Estimate | None = None
    net_wins: Estimate | None = None


class Rule(Protocol):
    """A sequential test: it may decide after every episode without raising its error rate."""

    def describe(self) -> str:
        """Return the rule in one sentence."""
        ...

    def decide(self, episodes: Episodes) -> Decision:
        """Return the decision after these episodes."""
        ...

    def compare(self, episodes: Episodes) -> Comparison:
        """Return how the policies compare, and why that gives the decision."""
        ...


def anytime_success(results: Sequence[EpisodeResult]) -> Estimate:
    """Return the success rate, with an interval that is valid after every episode."""
    return anytime_mean([result.success for result in results], 0, 1)


def anytime_steps(results: Sequence[EpisodeResult], limit: int) -> Estimate:
    """Return the mean steps, with an interval that is valid after every episode."""
    return anytime_mean([counted_steps(result, limit) for result in results], 0, limit)
