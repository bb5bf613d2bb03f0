"""Length and return of the episodes that an online training explores."""

from __future__ import annotations

from qc_core.training.rollout import Transition


class ExploredEpisodes:
    """Sums up the episodes that have ended since the last look.

    Args:
        num_envs: environments, which take their steps in turn.
    """

    def __init__(self, num_envs: int) -> None:
        self._lengths, self._returns = [0] * num_envs, [0.0] * num_envs
        self._ended: list[tuple[int, float, bool]] = []

    def add(self, number: int, transition: Transition) -> None:
        """Add the transition of step `number`; numbers are consecutive."""
        turn = number % len(self._lengths)
        self._lengths[turn] += 1
        self._returns[turn] += transition.reward
        if transition.ended:
            self._ended.append((self._lengths[turn], self._returns[turn], transition.terminated))
            self._lengths[turn], self._returns[turn] = 0, 0.0

    def drop(self, number: int) -> None:
        """Forget the episode of step `number`, whose environment has failed."""
        turn = number % len(self._lengths)
        self._lengths[turn], self._returns[turn] = 0, 0.0

    def take(self) -> dict[str, float]:
        """Return the number and means of the ended episodes, and forget them.

        `terminated` is the share that ended with the task, by success or failure, and not by time.
        """
        ended, self._ended = self._ended, []
        if not ended:
            return {}
        lengths, returns, terminated = zip(*ended, strict=True)
        count = len(ended)
        return {
            "exploration/episodes": float(count),
            "exploration/episode_length": sum(lengths) / count,
            "exploration/episode_return": sum(returns) / count,
            "exploration/terminated": sum(terminated) / count,
        }
