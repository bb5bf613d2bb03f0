"""Collects the episode of any seed with one environment; each process has a collector."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np

from qc_core.config.settings import Collection
from qc_core.data.collection.demonstrators import draw_demonstrator
from qc_core.data.collection.episode import as_episodes, record_demonstration
from qc_core.data.collection.families import family_of, stacking_rates
from qc_core.data.collection.goals import RandomGoals, TaskGoals
from qc_core.data.collection.scene import cube_stays_reachable
from qc_core.data.dataset.dataset import Episodes
from qc_core.envs.make import make_environment
from qc_core.envs.relabelling import Relabelling

# Transitions of an episode without a task, as in OGBench's own datasets.
PLAY_LENGTH = 1000


def make_collector(
    environment: str, collection: Collection, play_length: int = PLAY_LENGTH
) -> OracleCollector:
    """Return the collector of a collection, for an environment that has oracles."""
    if collection in ("play", "noisy"):
        return _PlayCollector(environment, collection, play_length)
    return _TaskCollector(environment, collection)


class _TaskCollector:
    """Collects episodes that pursue the environment's task: `task` and `mixed`."""

    def __init__(self, environment: str, collection: Collection) -> None:
        self._id = environment
        self._collection: Collection = collection
        self._env = make_environment(environment)

    def collect(self, seed: int) -> Episodes:
        rng = np.random.default_rng(seed)
        demonstrator = draw_demonstrator(self._collection, self._id, rng)
        goals = TaskGoals(self._env, rng)
        return as_episodes(record_demonstration(self._env, goals, demonstrator, rng, seed))

    def close(self) -> None:
        self._env.close()


class _PlayCollector:
    """Collects episodes that pursue random goals, and relabels their rewards: `play`, `noisy`."""

    def __init__(self, environment: str, collection: Collection, length: int) -> None:
        self._id = environment
        self._collection: Collection = collection
        self._env = make_environment(
            environment, mode="data_collection", terminate_at_goal=False, max_episode_steps=length
        )
        self._relabel = Relabelling(environment)

    def collect(self, seed: int) -> Episodes:
        rng = np.random.default_rng(seed)
        start = seed
        while True:
            demonstrator = draw_demonstrator(self._collection, self._id, rng)
            goals = RandomGoals(self._env, rng.uniform(*stacking_rates(self._id)))
            recording = record_demonstration(self._env, goals, demonstrator, rng, start)
            if family_of(self._id) != "scene" or cube_stays_reachable(recording.info["qpos"]):
                rewards, masks = self._relabel(recording.info)
                return dataclasses.replace(
                    as_episodes(recording), rewards=rewards[:-1], masks=masks[:-1]
                )
            # Rare. The next attempt is also determined by the seed.
            start = int(rng.integers(1 << 31))

    def close(self) -> None:
        with contextlib.closing(self._env), contextlib.closing(self._relabel):
            pass


OracleCollector = _TaskCollector | _PlayCollector
