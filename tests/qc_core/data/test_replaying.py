"""Recorded actions give the recorded observations in the environment of the data, else not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest
from minari.data_collector.episode_buffer import EpisodeBuffer

from qc_core.cli.main import main
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.data.describe import describe_source
from qc_core.data.ingest import ingest
from qc_core.envs.make import make_environment
from qc_core.errors import UsageError
from tests.conftest import ENVIRONMENT, PENDULUM

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")

ID = "pendulum/heavy-v0"
HEAVY = "Pendulum-v1?g=3.5&max_episode_steps=20"


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Three episodes of a pendulum with other settings, with the seeds of their resets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    made = gymnasium.make(PENDULUM, g=3.5, max_episode_steps=20)
    made.action_space.seed(0)
    buffers = []
    for seed in range(3):
        steps = [(made.reset(seed=seed)[0], None, 0.0, False, False)]
        for _ in range(20):
            action = made.action_space.sample()
            observation, reward, terminated, truncated, _ = made.step(action)
            steps.append((observation, action, float(reward), terminated, truncated))
        observations, actions, rewards, terminations, truncations = zip(*steps, strict=True)
        buffers.append(
            EpisodeBuffer(
                id=seed,
                seed=seed,
                observations=list(observations),
                actions=list(actions[1:]),
                rewards=list(rewards[1:]),
                terminations=list(terminations[1:]),
                truncations=list(truncations[1:]),
            )
        )
    minari.create_dataset_from_buffers(ID, buffers, env=made)
    made.close()
    return f"minari:{ID}"


def test_the_recorded_environment_is_rebuilt_with_its_settings(
    tmp_path: Path, heavy: str, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    data = replace(config.data, source=(heavy,))
    with pytest.raises(UsageError, match=r"not Pendulum-v1: give --environment 'Pendulum-v1\?g=3"):
        ingest(replace(config, environment=PENDULUM, data=data), tmp_path / "dataset")
    ingest(replace(config, environment=HEAVY, data=data), tmp_path / "dataset")
    spec = open_dataset(tmp_path / "dataset").spec
    assert (spec.id, spec.episode_limit) == (HEAVY, 20)
    result = describe_source(heavy, replays=2).replay
    assert result and (result.episodes, result.steps) == (2, 40)
    assert result.observation_difference < 1e-5 and (result.reward_difference or 0) < 1e-5
    capsys.readouterr()
    assert main(["describe", heavy, "--replay", "3"]) == 0
    assert "60 steps: observations differ by at most 0.0000, rewards by 0.0000" in (
        capsys.readouterr().out
    )


def test_another_environment_differs(tmp_path: Path, heavy: str) -> None:
    path = tmp_path / "minari" / ID / "data/metadata.json"
    metadata = json.loads(path.read_text())
    recorded = json.loads(metadata["env_spec"])
    recorded["kwargs"]["g"] = 9.0
    path.write_text(json.dumps({**metadata, "env_spec": json.dumps(recorded)}))
    result = describe_source(heavy, replays=1).replay
    assert result and result.observation_difference > 0.1


def test_states_of_the_simulator_are_starts(tmp_path: Path) -> None:
    path = tmp_path / "cube.npz"
    np.savez(path, **played())
    with pytest.raises(UsageError, match="--replay needs the environment"):
        describe_source(str(path), replays=1)
    result = describe_source(str(path), environment=ENVIRONMENT, replays=2).replay
    assert result and (result.episodes, result.steps) == (2, 10)
    assert result.observation_difference < 1e-2
    assert result.reward_difference is None


def played() -> dict[str, Any]:
    """Two episodes of the real environment, as an official file has them."""
    made = make_environment(ENVIRONMENT)
    rng = np.random.default_rng(0)
    columns: dict[str, list[Any]] = {}
    for seed in range(2):
        observation, _ = made.reset(seed=seed)
        for row in range(6):
            action = rng.uniform(-1, 1, 5).astype("f4")
            states = {"observations": observation, "actions": action, "terminals": row == 5}
            observation, *_, info = made.step(action)
            states |= {name: info[f"prev_{name}"] for name in ("qpos", "qvel")}
            for name, value in states.items():
                columns.setdefault(name, []).append(value)
    made.close()
    return {name: np.array(values) for name, values in columns.items()}


def test_data_without_starts_cannot_be_played_again(tmp_path: Path, dataset: Path) -> None:
    np.savez(
        tmp_path / "own.npz",
        observations=np.zeros((4, 3)),
        actions=np.zeros((4, 1)),
        rewards=np.arange(4),
        terminals=np.arange(4) == 3,
    )
    with pytest.raises(UsageError, match="cannot be played again: it records no seed"):
        describe_source(str(tmp_path / "own.npz"), environment=PENDULUM, replays=1)
    with pytest.raises(UsageError, match="a dataset folder cannot be played again"):
        describe_source(str(dataset), replays=1)
