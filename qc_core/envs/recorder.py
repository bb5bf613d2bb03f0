"""Keep played episodes in the form in which episodes are exchanged, OGBench's npz.

Shapes: T control steps, O observation, A action, Q simulator state. An episode is T + 1 rows; the
last one is only a next observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from qc_core.envs.episode_result import EpisodeResult
from qc_core.envs.play import LoadPolicy, play_each, play_episode
from qc_core.errors import UsageError
from qc_core.files import staged_file
from qc_core.progress import Progress
from qc_core.runtime.executor import ChunkFunction

# The simulator's state that rewards depend on, under the names of OGBench's files.
_STATE = ("qpos", "button_states")


@dataclass(frozen=True, slots=True)
class KeptEpisode:
    """How an episode went, and all of it.

    Attributes:
        columns: `observations` [T + 1, O], `actions` [T + 1, A], `terminals` [T + 1] and the
            simulator's state [T + 1, Q], by the names of OGBench's files.
    """

    outcome: EpisodeResult
    columns: Mapping[str, np.ndarray]


def play_and_keep(
    environment: str, policy: LoadPolicy, seeds: Sequence[int], *, workers: int = 1
) -> list[KeptEpisode]:
    """Let a policy play one episode per seed, as `play_episodes`, and keep all of them.

    Raises:
        UsageError: an environment that does not tell the simulator's state.
    """
    kept: dict[int, KeptEpisode] = {}
    with Progress(len(seeds), "playing", "episode") as progress:
        for _, seed, episode in play_each(
            environment, {"policy": policy}, seeds, keep_episode, workers=workers
        ):
            kept[seed] = episode
            progress.update()
    return [kept[seed] for seed in seeds]


def keep_episode(environment: gymnasium.Env, policy: ChunkFunction, seed: int) -> KeptEpisode:
    """Play one episode and keep it."""
    keeper = _Keeper(environment)
    outcome = play_episode(keeper, policy, seed)
    return KeptEpisode(outcome, keeper.columns)


def write_episodes(path: Path, episodes: Sequence[KeptEpisode]) -> None:
    """Write episodes one behind the other to an npz file (UsageError: it cannot be written)."""
    names = episodes[0].columns
    arrays: dict[str, Any] = {
        name: np.concatenate([e.columns[name] for e in episodes]) for name in names
    }
    with staged_file(path) as staging:
        np.savez_compressed(staging, **arrays)


class _Keeper(gymnasium.Wrapper):
    """Keeps what passes through an environment since its last reset."""

    def __init__(self, environment: gymnasium.Env) -> None:
        super().__init__(environment)
        self._rows: dict[str, list[Any]] = {}

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        observation, info = super().reset(**options)
        if "qpos" not in info:
            raise UsageError(
                "these episodes cannot be kept: the environment does not tell the simulator's "
                "state (qpos), from which rewards are made"
            )
        self._rows = {"actions": []}
        self._keep(observation, info)
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Any, ...]:
        observation, reward, terminated, truncated, info = super().step(action)
        self._rows["actions"].append(np.array(action))
        self._keep(observation, info)
        return observation, reward, terminated, truncated, info

    @property
    def columns(self) -> dict[str, np.ndarray]:
        actions = self._rows["actions"]
        rows = {**self._rows, "actions": [*actions, np.zeros_like(actions[0])]}
        columns = {name: np.array(values, np.float32) for name, values in rows.items()}
        return {**columns, "terminals": np.arange(len(actions) + 1) == len(actions)}

    def _keep(self, observation: np.ndarray, info: dict[str, Any]) -> None:
        values = {"observations": observation, **{n: info[n] for n in _STATE if n in info}}
        for name, value in values.items():
            self._rows.setdefault(name, []).append(np.array(value))
