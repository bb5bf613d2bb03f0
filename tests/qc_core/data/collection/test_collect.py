"""Collected episodes are reproducible and match their environment and kind of collection."""

from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from qc_core.config.settings import Collection, Config
from qc_core.data.collection import collector as collector_module
from qc_core.data.collection.collect import collect_episodes
from qc_core.data.collection.collector import make_collector
from qc_core.data.dataset.dataset import Dataset, Episodes, open_dataset
from qc_core.data.ingest import ingest
from qc_core.envs.make import make_environment
from qc_core.errors import UsageError
from qc_core.policy_format.data_source import DataSource
from qc_core.seeds import seeds_for

# mujoco's functions come from a compiled module that no type checker can read.
_mujoco: Any = mujoco


def assert_same(one: Episodes, other: Episodes) -> None:
    for entry in fields(Episodes):
        np.testing.assert_array_equal(getattr(one, entry.name), getattr(other, entry.name))


def collector(environment: str, collection: Collection, length: int = 1000) -> Any:
    return closing(make_collector(environment, collection, length))


@pytest.mark.parametrize("collection", ["mixed", "noisy"])
def test_episodes_do_not_depend_on_the_number_of_workers(collection: Collection) -> None:
    def collect(workers: int) -> list[Episodes]:
        options: dict[str, Any] = {"collection": collection, "play_length": 40}
        environment = "scene-singletask-task1-v0"
        return list(collect_episodes(environment, [5, 6, 7], workers=workers, **options))

    alone, together = collect(1), collect(2)
    assert len(alone) == len(together) == 3
    for one, other in zip(alone, together, strict=True):
        assert_same(one, other)
    assert not np.array_equal(alone[0].observations[0], alone[1].observations[0])


@pytest.mark.parametrize("collection", ["play", "task"])
def test_an_episode_does_not_depend_on_earlier_episodes(collection: Collection) -> None:
    environment = "scene-singletask-task1-v0"
    with (
        collector(environment, collection, 40) as fresh,
        collector(environment, collection, 40) as used,
    ):
        used.collect(1)
        assert_same(used.collect(2), fresh.collect(2))


def test_the_same_seed_collects_the_same_data_set(tmp_path: Path, config: Config) -> None:
    def collect(name: str, seed: int) -> Dataset:
        data = replace(config.data, collection="task", episodes=1)
        ingest(replace(config, seed=seed, data=data), tmp_path / name)
        return open_dataset(tmp_path / name, verify=True)

    one, same, other = collect("one", 0), collect("same", 0), collect("other", 1)
    assert one.digest == same.digest != other.digest
    source = DataSource(kind="collect", collection="task", episodes=1, seed=0)
    assert one.info.source == source


@pytest.mark.parametrize(
    ("environment", "collection"),
    [
        ("cube-single-singletask-task1-v0", "mixed"),
        ("scene-singletask-task1-v0", "mixed"),
    ],
)
def test_task_directed_episodes_replay_in_the_environment(
    environment: str, collection: Collection
) -> None:
    seed = seeds_for("collect", 0, 1)[0]
    with collector(environment, collection) as made:
        episode = made.collect(seed)
    with closing(make_environment(environment)) as played:
        observation, _ = played.reset(seed=seed)
        for step, action in enumerate(episode.actions):
            np.testing.assert_array_equal(
                episode.observations[step], observation.astype(np.float32)
            )
            observation, reward, terminated, truncated, _ = played.step(action)
            assert episode.rewards[step] == reward
            assert episode.masks[step] == (0 if terminated else 1)
            assert episode.terminals[step] == (terminated or truncated)
        np.testing.assert_array_equal(episode.observations[-1], observation.astype(np.float32))


@pytest.mark.parametrize(
    ("environment", "collection", "steps"),
    [
        ("puzzle-3x3-singletask-v0", "noisy", 120),
        # Choosing a new target settles the cubes' environment a little; the first one lasts 80.
        ("cube-double-singletask-v0", "play", 70),
    ],
)
def test_random_goals_replay_in_the_environment_for_the_given_time(
    environment: str, collection: Collection, steps: int
) -> None:
    with collector(environment, collection, steps) as made:
        episode = made.collect(3)
    np.testing.assert_array_equal(episode.terminals, [0] * (steps - 1) + [1])
    assert len(episode.observations) == steps + 1
    with closing(make_environment(environment, mode="data_collection")) as played:
        observation, _ = played.reset(seed=3)
        for step, action in enumerate(episode.actions):
            np.testing.assert_array_equal(
                episode.observations[step], observation.astype(np.float32)
            )
            observation, *_ = played.step(action)


@pytest.mark.parametrize(
    "environment",
    [
        "cube-double-singletask-task4-v0",  # two cubes in each other's place
        "cube-triple-singletask-task3-v0",  # a stack
        "puzzle-3x3-singletask-task4-v0",
        "scene-singletask-task4-v0",  # unlock, open, put in, close
    ],
)
def test_task_episodes_succeed(environment: str) -> None:
    with collector(environment, "task") as made:
        episode = made.collect(0)
    assert episode.masks[-1] == 0
    assert episode.rewards[-1] == 0


def test_some_mixed_episodes_succeed_and_some_fail(config: Config) -> None:
    with collector(config.environment, "mixed") as made:
        episodes = [made.collect(seed) for seed in seeds_for("collect", 0, 12)]
    solved = np.mean([episode.masks[-1] == 0 for episode in episodes])
    assert 0.4 < solved < 1


def cube_rewards(observations: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Minus the cubes that are not in place, from what is observed of them."""
    rewards = np.zeros(len(observations))
    for cube, goal in enumerate(goals):
        at = 19 + 9 * cube
        position = observations[:, at : at + 3] / 10 + [0.425, 0, 0]
        rewards -= np.linalg.norm(position - goal, axis=1) > 0.04
    return rewards


def button_rewards(observations: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Minus the buttons whose light is wrong, from what is observed of them."""
    lights = observations[:, 19:].reshape(len(observations), len(goals), 4)[:, :, 1]
    # Random goals: one button alone, pressed again and again, would make two patterns.
    assert len(np.unique(lights, axis=0)) > 3
    return -(lights != goals).sum(axis=1).astype(float)


@pytest.mark.parametrize(
    ("environment", "seed", "goal", "rewards_of"),
    [
        ("cube-single-singletask-task1-v0", 4, "goal_xyzs", cube_rewards),
        ("puzzle-3x3-singletask-task4-v0", 0, "goal_button_states", button_rewards),
    ],
)
def test_play_rewards_are_those_of_the_task_in_each_state(
    environment: str, seed: int, goal: str, rewards_of: Any
) -> None:
    with collector(environment, "play", 150) as made:
        episode = made.collect(seed)
    with closing(make_environment(environment)) as task:
        task.reset(seed=0)
        inner: Any = task.unwrapped
        expected = rewards_of(episode.observations[:-1], inner.cur_task_info[goal])
    np.testing.assert_array_equal(episode.rewards, expected)
    np.testing.assert_array_equal(episode.masks, expected != 0)
    assert len(set(expected)) > 1


def test_a_scene_with_an_unreachable_cube_is_collected_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with collector("scene-singletask-v0", "play", 20) as made:
        first = made.collect(0)
        for _ in range(2):
            answers = iter([False, True])
            monkeypatch.setattr(
                collector_module, "cube_stays_reachable", lambda _, it=answers: next(it)
            )
            second = made.collect(0)
            assert not np.array_equal(first.observations, second.observations)
            assert second.rewards.shape == (20,)
            assert next(answers, None) is None


@pytest.mark.parametrize("family", ["cube-double", "scene", "puzzle-3x3"])
def test_both_modes_of_an_environment_give_the_same_observations(family: str) -> None:
    environment = f"{family}-singletask-v0"
    with (
        closing(make_environment(environment, mode="data_collection")) as random,
        closing(make_environment(environment)) as task,
    ):
        random.reset(seed=0)
        task.reset(seed=0)
        for _ in range(20):
            random.step(np.array([0.3, 0.2, -0.9, 0.5, 0.4]))
        one: Any = random.unwrapped
        other: Any = task.unwrapped
        if hasattr(one, "_cur_button_states"):
            other._cur_button_states = one._cur_button_states.copy()
        for name in ("qpos", "qvel", "ctrl"):
            getattr(other.data, name)[:] = getattr(one.data, name)
        for inner in (one, other):
            _mujoco.mj_forward(inner.model, inner.data)
            _mujoco.mj_rnePostConstraint(inner.model, inner.data)
        observed = one.compute_observation()
        # Forces follow from an iteration that starts elsewhere.
        np.testing.assert_allclose(observed, other.compute_observation(), atol=1e-3)
        assert random.observation_space == task.observation_space


@pytest.mark.parametrize(
    "environment",
    [
        "antmaze-large-navigate-singletask-v0",
        "cube-octuple-singletask-v0",
        "cube-double-v0",
        "visual-cube-single-singletask-v0",
        "cube-single-singletask-task6-v0",
    ],
)
def test_environments_without_an_oracle_are_refused(environment: str) -> None:
    with pytest.raises(
        UsageError, match=f"no scripted oracle for {environment}: .*scene"
    ) as refusal:
        next(collect_episodes(environment, [0]))
    assert "\n" not in str(refusal.value)


def test_a_refused_collection_writes_no_files(tmp_path: Path, config: Config) -> None:
    with pytest.raises(UsageError, match="no scripted oracle for cube-octuple"):
        ingest(replace(config, environment="cube-octuple-singletask-v0"), tmp_path / "d")
    assert list(tmp_path.iterdir()) == []
