"""Scripted collection: repeatable, of mixed quality, and true to the environment."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qc_core.data.collect import collect_episode
from qc_core.data.dataset import open_dataset
from qc_core.data.ingest import ingest
from qc_core.envs.make import make_environment
from qc_core.errors import WrongUse
from qc_core.recipes.config import Config
from qc_core.seeds import seeds_for


def test_the_same_seed_gives_the_same_data_whatever_the_workers(
    tmp_path: Path, config: Config
) -> None:
    def digest(name: str, seed: int, workers: int) -> str:
        data = replace(config.data, episodes=3, workers=workers)
        ingest(replace(config, seed=seed, data=data), tmp_path / name)
        return open_dataset(tmp_path / name, verify=True).digest

    assert digest("one", 0, 1) == digest("two", 0, 2) != digest("other", 1, 1)


def test_episodes_replay_in_the_environment(config: Config) -> None:
    environment = make_environment(config.environment)
    seed = seeds_for("collect", 0, 1)[0]
    episode = collect_episode(environment, seed)
    observation, _ = environment.reset(seed=seed)
    for step, action in enumerate(episode.actions):
        np.testing.assert_array_equal(episode.observations[step], observation.astype(np.float32))
        observation, reward, terminated, truncated, _ = environment.step(action)
        assert episode.rewards[step] == reward
        assert episode.masks[step] == (0 if terminated else 1)
        assert episode.terminals[step] == (terminated or truncated)
    np.testing.assert_array_equal(episode.observations[-1], observation.astype(np.float32))
    environment.close()


def test_some_episodes_succeed_and_some_fail(config: Config) -> None:
    environment = make_environment(config.environment)
    episodes = [collect_episode(environment, seed) for seed in seeds_for("collect", 0, 12)]
    solved = np.mean([episode.masks[-1] == 0 for episode in episodes])
    environment.close()
    assert 0.4 < solved < 1


def test_an_environment_without_an_oracle_is_refused(tmp_path: Path, config: Config) -> None:
    other = replace(config, environment="cube-double-singletask-task1-v0")
    with pytest.raises(WrongUse, match="no scripted oracle for cube-double"):
        ingest(other, tmp_path / "d")
    assert list(tmp_path.iterdir()) == []
