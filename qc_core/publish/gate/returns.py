"""The rule for champion against challenger without a success signal: who has the higher return.

Sequential intervals need bounded values, and returns have no bounds. So the rule counts each
episode as won (1), drawn (0) or lost (-1), however large the difference of the returns is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL
from qc_core.publish.gate.rule import CHALLENGER, CHAMPION, Comparison, Decision, Episodes
from qc_core.statistics import anytime_mean, mean_is_above, mean_is_below


@dataclass(frozen=True, slots=True)
class ReturnDuel:
    """Requires that the challenger wins more episodes than it loses, up to a margin.

    For any number of episodes and any returns, a challenger whose net wins per episode are at most
    `-margin` passes with probability at most 2.5%.

    Attributes:
        margin: allowed net losses per episode, in [0, 1). 0 requires net wins.
    """

    margin: float

    def describe(self) -> str:
        verdict = "not worse" if self.margin else "better"
        return (
            f"{verdict}: the environment {NO_SUCCESS_SIGNAL}, so the higher return wins an "
            "episode, and the 95% interval of net wins per episode lies above "
            f"{self._min_net_wins:.3g}"
        )

    def decide(self, episodes: Episodes) -> Decision:
        wins = _wins(episodes)
        if mean_is_above(wins, self._min_net_wins, -1, 1):
            return "passed"
        if mean_is_below(wins, self._min_net_wins, -1, 1):
            return "failed"
        return "undecided"

    def compare(self, episodes: Episodes) -> Comparison:
        wins = _wins(episodes)
        net_wins = anytime_mean(wins, -1, 1)
        verdict = {
            "passed": "not worse" if self.margin else "better",
            "failed": "worse by more than the margin" if self.margin else "worse",
            "undecided": "not shown to be " + ("no worse" if self.margin else "better"),
        }[self.decide(episodes)]
        return Comparison(
            f"{verdict}: its return was higher in {np.sum(wins > 0)} and lower in "
            f"{np.sum(wins < 0)} of {wins.size} episodes, {net_wins.value:+.2f} net wins per "
            f"episode ({net_wins.low:+.2f} to {net_wins.high:+.2f}); the environment "
            f"{NO_SUCCESS_SIGNAL}",
            net_wins=net_wins,
        )

    @property
    def _min_net_wins(self) -> float:
        return -self.margin if self.margin else 0.0


def _wins(episodes: Episodes) -> np.ndarray:
    """Return 1 for each episode that the challenger wins, -1 for a loss, 0 for a draw."""
    champion, challenger = (
        np.array([result.episode_return for result in episodes[name]])
        for name in (CHAMPION, CHALLENGER)
    )
    return np.sign(challenger - champion)
