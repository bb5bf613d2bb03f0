"""Chooses the arrays of a file of steps by their names.

`docs/reference/file-formats.md` documents the names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qc_core.data.formats.source import SEEDS
from qc_core.data.formats.step_tables import array_names
from qc_core.errors import UsageError

# Names of arrays by what they contain; the first that exists is read.
OBSERVATIONS = ("observations", "observation", "obs")
NEXT_OBSERVATIONS = ("next_observations", "next_observation", "next_obs")
ACTIONS = ("actions", "action")
REWARDS = ("rewards", "reward")
TERMINALS = ("terminals", "terminations", "terminated")
TIMEOUTS = ("timeouts", "truncations", "truncated")
DONES = ("dones", "done")
MASKS = ("masks",)
EPISODES = ("episode_index", "episode_ids", "episode_id", "episode")
SUCCESS = ("successes", "success", "is_success")
SUCCESS += ("infos/success", "infos/is_success", "infos/goal_achieved")
_SCALARS = (REWARDS, TERMINALS, TIMEOUTS, DONES, MASKS, SUCCESS, EPISODES)
_ENDS = {TERMINALS, TIMEOUTS, DONES, EPISODES}

# Where an episode starts: the seed of its reset, or the simulator's positions and velocities.
_STARTS = ((SEEDS,), ("infos/qpos", "infos/qvel"), ("qpos", "qvel"))


@dataclass(frozen=True, slots=True)
class Columns:
    """The arrays of a file that are read.

    Attributes:
        next_observations: empty if the file has none.
        start: arrays that decide how an episode starts, of `_STARTS`; empty if the file has none.
        scalars: arrays of one number per step, by what they contain (`REWARDS`, …).
    """

    observations: tuple[str, ...]
    next_observations: tuple[str, ...]
    actions: tuple[str, ...]
    start: tuple[str, ...]
    scalars: Mapping[tuple[str, ...], str]

    @property
    def small(self) -> tuple[str, ...]:
        """All arrays but observations."""
        return (*self.actions, *self.scalars.values())

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.observations, *self.next_observations, *self.small)


def choose_columns(
    path: Path, observation: Sequence[str], action: Sequence[str], *, single_episode: bool
) -> Columns:
    """Choose arrays by their names, or those that a person names.

    Args:
        observation, action: names of arrays; empty for the usual names.
        single_episode: the file may be one episode, without a mark at its end.

    Raises:
        UsageError: an array is missing, or nothing marks the ends of episodes.
    """
    found = array_names(path)

    def first(names: Sequence[str]) -> tuple[str, ...]:
        return next(((name,) for name in names if name in found), ())

    shown = f"it has {', '.join(found[:30]) or 'none'}"
    for name in (*observation, *action):
        if name not in found:
            raise UsageError(f"{path} has no array {name!r}; {shown}")
    observations, actions = (
        tuple(observation) or first(OBSERVATIONS),
        tuple(action) or first(ACTIONS),
    )
    for kind, chosen in (("observation", observations), ("action", actions)):
        if not chosen:
            raise UsageError(
                f"{path} has no array of {kind}s; {shown}: choose with --data.{kind} NAME…"
            )
    following = first(NEXT_OBSERVATIONS)
    if observation:
        following = tuple(f"next_{name}" for name in observation)
        following = following if all(name in found for name in following) else ()
    scalars: dict[tuple[str, ...], str] = {
        names: first(names)[0] for names in _SCALARS if first(names)
    }
    if not single_episode and not _ENDS & set(scalars):
        raise UsageError(
            f"{path} does not tell where episodes end; {shown}: add terminals and timeouts, or "
            "episode_index; in a folder, each file may be an episode"
        )
    start = next((names for names in _STARTS if set(names) <= set(found)), ())
    return Columns(observations, following, actions, start, scalars)
