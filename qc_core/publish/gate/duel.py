"""Champion against challenger, pair by pair on the same seeds.

What is compared is the steps of an episode, a failure counting the episode's limit: two policies
that both succeed differ by their speed, and a failure costs more than any success. So that speed
does not buy failures, the challenger must also succeed as often: shown by the same kind of interval
up to a twentieth of the episodes, or else seen over all the episodes that there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qc_core.envs.episode_result import counted_steps
from qc_core.publish.gate.rule import CHALLENGER, CHAMPION, Decision, Games, success_of
from qc_core.statistics import anytime_mean, mean_is_above, mean_is_below

# Successes that the interval may leave open, as a share of the episodes, where a match ends early.
_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Duel:
    """The challenger is shown to be better, or not to be worse by more than a margin.

    In at most 2.5% of cases a challenger passes that saves no more steps than the negative
    margin, after however many episodes one looks and whatever their distribution.

    Attributes:
        limit: control steps of an episode.
        margin: what the challenger may lose, in [0, 1): as a share of the limit in steps, and as
            a share of the episodes in success. 0 asks for better.
        episodes: that each plays at most.
    """

    limit: int
    margin: float
    episodes: int

    @property
    def text(self) -> str:
        steps = (
            "the 95% interval of the steps saved per episode, a failure counting the limit of "
            f"{self.limit}, lies above {self._least_saved:.3g}"
        )
        if self.margin:
            lost = f"it succeeded at most {self.margin:.1%} of the episodes less often"
            return f"not worse: {steps}, and {lost}"
        return f"better: {steps}, and it succeeded at least as often"

    def decide(self, games: Games) -> Decision:
        saved, bound = self._saved(games), self._least_saved
        if mean_is_above(saved, bound, -self.limit, self.limit):
            # Where only the speed is shown, further episodes may show the success.
            return "passed" if self._succeeds(games) else "undecided"
        if mean_is_below(saved, bound, -self.limit, self.limit):
            return "failed"
        return "undecided"

    def figures(self, games: Games) -> dict[str, Any]:
        saved = anytime_mean(self._saved(games), -self.limit, self.limit)
        gain = anytime_mean(_gains(games), -1, 1)
        held, tried = (success_of(games[name]).value for name in (CHAMPION, CHALLENGER))
        shown = {
            "passed": "not worse" if self.margin else "better",
            "failed": "worse by more than the margin" if self.margin else "worse",
            "undecided": self._undecided(games),
        }[self.decide(games)]
        return {
            "steps-saved": saved._asdict(),
            "success-gain": gain._asdict(),
            "reason": f"{shown}: {saved.value:.1f} steps saved per episode ({saved.low:.1f} to "
            f"{saved.high:.1f}), success {held:.0%} → {tried:.0%}",
        }

    @property
    def _least_saved(self) -> float:
        return -self.margin * self.limit if self.margin else 0.0

    def _saved(self, games: Games) -> np.ndarray:
        held, tried = (
            np.array([counted_steps(outcome, self.limit) for outcome in games[name]])
            for name in (CHAMPION, CHALLENGER)
        )
        return held - tried

    def _succeeds(self, games: Games) -> bool:
        """As often as the champion, and not by the luck of the moment at which one looks."""
        gains, least = _gains(games), -self.margin
        if float(np.mean(gains)) < least:
            return False
        return len(gains) >= self.episodes or mean_is_above(gains, least - _TOLERANCE, -1, 1)

    def _undecided(self, games: Games) -> str:
        if float(np.mean(_gains(games))) < -self.margin:
            return "succeeded less often"
        return "not shown to be " + ("no worse" if self.margin else "better")


def _gains(games: Games) -> np.ndarray:
    held, tried = (
        np.array([outcome.success for outcome in games[name]], dtype=float)
        for name in (CHAMPION, CHALLENGER)
    )
    return tried - held
