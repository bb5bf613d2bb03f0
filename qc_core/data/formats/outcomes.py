"""Decides which steps succeed and which end the task, also where a file leaves it open.

`docs/research/data.md` contains the rule as a table. A `Survey` reads all steps once, because some
decisions depend on the complete data: which reward is the usual one, and whether `done` marks more
than the last step of every episode.

Shapes: N steps of complete episodes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from qc_core.config.settings import FINAL_REWARD, SuccessRule, final_reward_of
from qc_core.errors import UsageError

# Rewards with more values than this are dense.
_MAX_LEVELS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """What a file records about steps; None where it records nothing.

    Attributes:
        last: bool [N], the last step of each episode.
        rewards: float32 [N].
        success: bool [N], from a column or from `info`.
        terminated: bool [N], the task has ended with the step, and not by a time limit.
        done: bool [N], the episode has ended with the step for any reason.
    """

    last: np.ndarray
    rewards: np.ndarray | None = None
    success: np.ndarray | None = None
    terminated: np.ndarray | None = None
    done: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The result of a rule.

    Attributes:
        rewards: float32 [N]; 1 for success and 0 for other steps if the file has no rewards.
        success: bool [N].
        terminated: bool [N], no reward follows: the value of the next state is 0.
    """

    rewards: np.ndarray
    success: np.ndarray
    terminated: np.ndarray


class Survey:
    """Collects what `OutcomeRule` needs to know about all steps."""

    def __init__(self) -> None:
        self.episodes = self.steps = 0
        self.has_rewards = self.has_success = self.has_done = self.has_terminated = False
        # All values if there are few, else more than `_MAX_LEVELS` of them.
        self.levels: set[float] = set()
        self.firsts: Counter[float] = Counter()
        # Lowest and highest reward of all steps but the last of each episode.
        self.inner = (np.inf, -np.inf)
        self.highest_final = -np.inf
        self.done_at_end = self.done_inside = self.terminated_at_end = 0

    def add(self, steps: Steps) -> None:
        """Add complete episodes."""
        self.episodes += int(steps.last.sum())
        self.steps += len(steps.last)
        self.has_success |= steps.success is not None
        if steps.terminated is not None:
            self.has_terminated = True
            self.terminated_at_end += int((steps.terminated & steps.last).sum())
        if steps.done is not None:
            self.has_done = True
            self.done_at_end += int((steps.done & steps.last).sum())
            self.done_inside += int((steps.done & ~steps.last).sum())
        if steps.rewards is None:
            return
        self.has_rewards = True
        if len(self.levels) <= _MAX_LEVELS:
            self.levels |= set(np.unique(steps.rewards)[: _MAX_LEVELS + 1].tolist())
        values, counts = np.unique(steps.rewards[np.roll(steps.last, 1)], return_counts=True)
        if len(self.firsts) <= _MAX_LEVELS:
            self.firsts.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        self.highest_final = max(self.highest_final, float(steps.rewards[steps.last].max()))
        if len(inner := steps.rewards[~steps.last]):
            self.inner = (
                min(self.inner[0], float(inner.min())),
                max(self.inner[1], float(inner.max())),
            )

    @property
    def success_reward(self) -> float | None:
        """The reward of a success if rewards are sparse, such as 1 of {0, 1} or 0 of {-1, 0}.

        The usual reward is the most common one in first steps of episodes. Rewards are sparse if
        exactly one value is above the usual one, and if that value is not negative.
        """
        if not self.has_rewards or self.is_dense:
            return None
        usual = self.firsts.most_common(1)[0][0]
        above = [level for level in self.levels if level > usual]
        return above[0] if len(above) == 1 and above[0] >= 0 else None

    @property
    def is_dense(self) -> bool:
        """Rewards have many values, or each of a few steps has its own."""
        levels = len(self.levels)
        return levels > _MAX_LEVELS or 2 < levels == self.steps

    @property
    def is_constant(self) -> bool:
        return len(self.levels) == 1

    @property
    def reports_success(self) -> bool:
        """Whether success is recorded, or follows from the rewards."""
        return (
            self.has_success
            or self.success_reward is not None
            # All 0 or all -1: sparse rewards of failures alone.
            or (self.is_constant and max(self.levels) <= 0)
            or self.highest_final > self.final_limits[1]
        )

    @property
    def done_is_informative(self) -> bool:
        """Whether `done` says more than where episodes end."""
        return 0 < self.done_at_end < self.episodes or self.done_inside > 0

    @property
    def final_limits(self) -> tuple[float, float]:
        """Final rewards outside of these are events, such as a penalty at a fall.

        They are farther from all other rewards than the range of these.
        """
        low, high = self.inner
        if low > high:
            return -np.inf, np.inf
        return low - (high - low), high + (high - low)


class OutcomeRule:
    """Decides success and the end of the task for every step of a surveyed source.

    Args:
        name: the source, for messages.
        survey: of all its steps.
        choice: `--data.success`.
        trust_done: `done` may say that the task has ended; else only `--data.success done` reads
            it.

    Attributes:
        reports_success: whether the source, or the person by `--data.success`, tells success.
        notes: what the file does not tell, and how to tell it.

    Raises:
        UsageError: the data do not have what the chosen rule needs.
    """

    def __init__(
        self, name: str, survey: Survey, choice: SuccessRule, *, trust_done: bool = True
    ) -> None:
        self._survey, self._choice = survey, choice
        self._trust_done = trust_done and survey.done_is_informative
        self._success_reward = survey.success_reward
        self._threshold = final_reward_of(choice)
        self._require(name)
        self.reports_success = choice != "auto" or survey.reports_success
        self.notes = tuple(self._make_notes())

    def __call__(self, steps: Steps) -> Outcomes:
        rewards = steps.rewards
        low, high = self._survey.final_limits
        none = np.zeros(len(steps.last), bool)
        success = self._success(steps, none, high)
        if steps.terminated is not None:
            # The file says what ends the task. A person's own rule for success adds to it.
            terminated = steps.terminated | (success if self._choice != "auto" else none)
        else:
            fell = none if rewards is None else steps.last & (rewards < low)
            done = steps.done if self._trust_done else None
            terminated = success | fell | (none if done is None else done)
        if rewards is None:
            rewards = success.astype(np.float32)
        return Outcomes(rewards, success, terminated)

    def _success(self, steps: Steps, none: np.ndarray, high: float) -> np.ndarray:
        if self._choice == "none":
            return none
        if self._choice == "done":
            done = steps.done if steps.done is not None else steps.terminated
            return none if done is None else done
        if self._choice == "auto" and steps.success is not None:
            return steps.success
        if steps.rewards is None:
            return none
        if self._threshold is not None:
            return steps.last & (steps.rewards >= self._threshold)
        if self._success_reward is not None:
            return steps.rewards == np.float32(self._success_reward)
        return steps.last & (steps.rewards > high)

    def _require(self, name: str) -> None:
        survey, option = self._survey, f"--data.success {self._choice}"
        if self._choice == "done" and not (survey.has_done or survey.has_terminated):
            raise UsageError(f"{name}: {option} needs a column such as next.done, it has none")
        if (self._choice == "reward" or self._threshold is not None) and not survey.has_rewards:
            raise UsageError(f"{name}: {option} needs rewards, it has none")
        if self._choice == "reward" and self._success_reward is None:
            raise UsageError(
                f"{name}: {option} needs sparse rewards, such as 0 and 1 or -1 and 0, but "
                f"they are {self._shown_levels()}: choose a threshold, such as --data.success "
                f"'{FINAL_REWARD}1'"
            )

    def _shown_levels(self) -> str:
        levels = sorted(self._survey.levels)
        if self._survey.is_dense:
            return "dense"
        return ", ".join(f"{level:g}" for level in levels)

    def _make_notes(self) -> list[str]:
        survey = self._survey
        if self.reports_success:
            return []
        if not survey.has_rewards:
            done = (
                "; --data.success done rewards the end of each episode" if survey.has_done else ""
            )
            return [f"no rewards and no success: all rewards are 0, only bc can learn{done}"]
        ends = survey.has_done and not survey.done_is_informative and not survey.has_terminated
        limit = ", and episodes count as ended by a time limit unless a reward says more"
        return [
            f"success is unknown: no success is recorded, and rewards are {self._shown_levels()}"
            f"{limit if ends else ''}; --data.success '{FINAL_REWARD}X', done or none decides"
        ]
