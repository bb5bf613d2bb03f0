"""The rule for champion against challenger, paired by seed.

The rule compares the steps of an episode, and a failure counts as the episode limit. So two
policies that both succeed differ by their speed, and a failure costs more than any success. To
prevent a faster policy from passing with more failures, the challenger must also succeed as often.
Before the last episode, an interval must show this up to a twentieth of the episodes; after the
last episode, the observed rates decide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qc_core.envs.episode_result import counted_steps
from qc_core.publish.gate.rule import (
    CHALLENGER,
    CHAMPION,
    Comparison,
    Decision,
    Episodes,
    anytime_success,
)
from qc_core.statistics import anytime_mean, mean_is_above, mean_is_below

# Loss of success rate that the interval may leave open when a match ends early.
_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Duel:
    """Requires that the challenger is better, or not worse by more than a margin.

    For any number of episodes and any distribution, a challenger that saves at most
    `-margin * limit` steps passes with probability at most 2.5%.

    Attributes:
        limit: control steps of an episode.
        margin: allowed loss in [0, 1): of steps as a fraction of the limit, and of success rate.
            0 requires a better challenger.
        max_episodes: episodes per policy.
    """

    limit: int
    margin: float
    max_episodes: int

    def describe(self) -> str:
        steps = (
            "the 95% interval of the steps saved per episode, where a failure counts as the limit "
            f"of {self.limit}, lies above {self._min_saved:.3g}"
        )
        if self.margin:
            return (
                f"not worse: {steps}, and its success rate is at most {self.margin:.1%} of the "
                "episodes lower"
            )
        return f"better: {steps}, and its success rate is not lower"

    def decide(self, episodes: Episodes) -> Decision:
        saved, bound = self._saved(episodes), self._min_saved
        if mean_is_above(saved, bound, -self.limit, self.limit):
            # Faster, but the success rate may need more episodes.
            return "passed" if self._succeeds_as_often(episodes) else "undecided"
        if mean_is_below(saved, bound, -self.limit, self.limit):
            return "failed"
        return "undecided"

    def compare(self, episodes: Episodes) -> Comparison:
        saved = anytime_mean(self._saved(episodes), -self.limit, self.limit)
        before, after = (anytime_success(episodes[name]).value for name in (CHAMPION, CHALLENGER))
        verdict = {
            "passed": "not worse" if self.margin else "better",
            "failed": "worse by more than the margin" if self.margin else "worse",
            "undecided": self._describe_undecided(episodes),
        }[self.decide(episodes)]
        return Comparison(
            f"{verdict}: {saved.value:.1f} steps saved per episode ({saved.low:.1f} to "
            f"{saved.high:.1f}), success {before:.0%} → {after:.0%}",
            steps_saved=saved,
            success_gain=anytime_mean(_success_gains(episodes), -1, 1),
        )

    @property
    def _min_saved(self) -> float:
        return -self.margin * self.limit if self.margin else 0.0

    def _saved(self, episodes: Episodes) -> np.ndarray:
        champion, challenger = (
            np.array([counted_steps(result, self.limit) for result in episodes[name]])
            for name in (CHAMPION, CHALLENGER)
        )
        return champion - challenger

    def _succeeds_as_often(self, episodes: Episodes) -> bool:
        gains, bound = _success_gains(episodes), -self.margin
        if float(np.mean(gains)) < bound:
            return False
        # Without the interval, a match could end at a lucky moment.
        is_last = len(gains) >= self.max_episodes
        return is_last or mean_is_above(gains, bound - _TOLERANCE, -1, 1)

    def _describe_undecided(self, episodes: Episodes) -> str:
        if float(np.mean(_success_gains(episodes))) < -self.margin:
            return "succeeded less often"
        return "not shown to be " + ("no worse" if self.margin else "better")


def _success_gains(episodes: Episodes) -> np.ndarray:
    champion, challenger = (
        np.array([result.success for result in episodes[name]], dtype=float)
        for name in (CHAMPION, CHALLENGER)
    )
    return challenger - champion
