"""What is asked of a first champion, whom there is nobody to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL, any_reports_success
from qc_core.publish.gate.rule import CHALLENGER, Decision, Games, rate_words, success_of
from qc_core.statistics import mean_is_above, mean_is_below


@dataclass(frozen=True, slots=True)
class Minimum:
    """The success rate is shown to be above a minimum.

    In at most 2.5% of cases a policy passes whose true rate is no higher, and fails one whose
    rate is no lower, after however many episodes one looks.

    Attributes:
        success: in (0, 1).
    """

    success: float

    @property
    def text(self) -> str:
        return (
            f"a first champion: the 95% interval of its success rate lies above {self.success:.0%}"
        )

    def decide(self, games: Games) -> Decision:
        successes = [outcome.success for outcome in games[CHALLENGER]]
        if mean_is_above(successes, self.success, 0, 1):
            return "passed"
        if mean_is_below(successes, self.success, 0, 1):
            return "failed"
        return "undecided"

    def figures(self, games: Games) -> dict[str, Any]:
        if not any_reports_success(games[CHALLENGER]):
            return {
                "reason": f"the environment {NO_SUCCESS_SIGNAL}, of which a minimum of {self.success:.0%} is "
                "asked: --publish.minimum-success 0 asks for nothing"
            }
        said = {"passed": "is above", "failed": "is below", "undecided": "is not shown to be above"}
        success = rate_words(success_of(games[CHALLENGER]))
        return {
            "reason": f"success {success} {said[self.decide(games)]} the minimum of "
            f"{self.success:.0%}"
        }
