"""The rule for a first champion, which has no opponent."""

from __future__ import annotations

from dataclasses import dataclass

from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL, any_reports_success
from qc_core.publish.gate.rule import CHALLENGER, Comparison, Decision, Episodes, anytime_success
from qc_core.statistics import mean_is_above, mean_is_below


@dataclass(frozen=True, slots=True)
class Minimum:
    """Requires a success rate above a minimum.

    For any number of episodes, a policy whose true rate is at most the minimum passes with
    probability at most 2.5%, and one whose true rate is at least the minimum fails with
    probability at most 2.5%.

    Attributes:
        success: the minimum success rate, in (0, 1).
    """

    success: float

    def describe(self) -> str:
        return (
            f"a first champion: the 95% interval of its success rate lies above {self.success:.0%}"
        )

    def decide(self, episodes: Episodes) -> Decision:
        successes = [result.success for result in episodes[CHALLENGER]]
        if mean_is_above(successes, self.success, 0, 1):
            return "passed"
        if mean_is_below(successes, self.success, 0, 1):
            return "failed"
        return "undecided"

    def compare(self, episodes: Episodes) -> Comparison:
        results = episodes[CHALLENGER]
        if not any_reports_success(results):
            return Comparison(
                f"the environment {NO_SUCCESS_SIGNAL}, so a minimum success rate of "
                f"{self.success:.0%} cannot be reached: set --publish.minimum-success 0"
            )
        verb = {"passed": "is above", "failed": "is below", "undecided": "is not shown to be above"}
        rate = anytime_success(results)
        return Comparison(
            f"success {rate.value:.0%} ({rate.low:.0%} to {rate.high:.0%}) "
            f"{verb[self.decide(episodes)]} the minimum of {self.success:.0%}"
        )
