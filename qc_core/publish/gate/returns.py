"""Champion against challenger where the environment tells no success: who has the higher return.

Returns have no bounds, and the interval for any time of looking needs some. So an episode counts
as won, lost or drawn, which is in [-1, 1], however far apart the returns are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL
from qc_core.publish.gate.rule import CHALLENGER, CHAMPION, Decision, Games
from qc_core.statistics import anytime_mean, mean_is_above, mean_is_below


@dataclass(frozen=True, slots=True)
class ReturnDuel:
    """The challenger wins more of the episodes than it loses, or hardly fewer.

    In at most 2.5% of cases a challenger passes whose wins less losses are no more than the
    negative margin, after however many episodes one looks and whatever the returns.

    Attributes:
        margin: by how much the losses may outnumber the wins, in [0, 1), as a share of the
            episodes. 0 asks for better.
    """

    margin: float

    @property
    def text(self) -> str:
        asked = "not worse" if self.margin else "better"
        return (
            f"{asked}: the environment {NO_SUCCESS_SIGNAL}, so the higher return wins an episode, and the "
            f"95% interval of wins less losses per episode lies above {self._least:.3g}"
        )

    def decide(self, games: Games) -> Decision:
        signs = _signs(games)
        if mean_is_above(signs, self._least, -1, 1):
            return "passed"
        if mean_is_below(signs, self._least, -1, 1):
            return "failed"
        return "undecided"

    def figures(self, games: Games) -> dict[str, Any]:
        signs = _signs(games)
        gain = anytime_mean(signs, -1, 1)
        shown = {
            "passed": "not worse" if self.margin else "better",
            "failed": "worse by more than the margin" if self.margin else "worse",
            "undecided": "not shown to be " + ("no worse" if self.margin else "better"),
        }[self.decide(games)]
        return {
            "wins-less-losses": gain._asdict(),
            "reason": f"{shown}: its return was higher in {np.sum(signs > 0)} and lower in "
            f"{np.sum(signs < 0)} of {signs.size} episodes, {gain.value:+.2f} wins less losses per "
            f"episode ({gain.low:+.2f} to {gain.high:+.2f}); the environment {NO_SUCCESS_SIGNAL}",
        }

    @property
    def _least(self) -> float:
        return -self.margin if self.margin else 0.0


def _signs(games: Games) -> np.ndarray:
    """1 for each episode that the challenger wins, -1 for one that it loses, 0 for a draw."""
    held, tried = (
        np.array([outcome.episode_return for outcome in games[name]])
        for name in (CHAMPION, CHALLENGER)
    )
    return np.sign(tried - held)
