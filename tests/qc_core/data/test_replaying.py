"""Recorded actions give the recorded observations in the environment of the data, else not."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import h5py
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
from qc_core.runtime import EpisodeRecorder
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


BALANCE = "InvertedPendulum-v5"


@pytest.fixture(scope="module")
def d4rl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes in D4RL's form; the first falls, the second ends by time."""
    made = make_environment(BALANCE)
    inner: Any = made.unwrapped
    columns: dict[str, list[Any]] = {}
    for seed, (push, steps) in enumerate(((0.5, 30), (0.01, 6))):
        observation, _ = made.reset(seed=seed)
        terminated = False
        for row in range(steps):
            state = inner.data.qpos.copy(), inner.data.qvel.copy()
            action = np.full(1, push, np.float32)
            following, reward, terminated, _, _ = made.step(action)
            values = {
                "observations": observation,
                "actions": action,
                "rewards": reward,
                "terminals": terminated,
                "timeouts": row == steps - 1 and not terminated,
                "infos/qpos": state[0],
                "infos/qvel": state[1],
            }
            for name, value in values.items():
                columns.setdefault(name, []).append(value)
            observation = following
            if terminated:
                break
        assert terminated == (seed == 0)
    made.close()
    path = tmp_path_factory.mktemp("d4rl") / "balance.hdf5"
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            array = np.array(values)
            file[name] = array if array.dtype == bool else array.astype("f4")
    return path


def test_d4rl_files_are_played_from_the_states_that_they_record(d4rl: Path) -> None:
    result = describe_source(str(d4rl), environment=BALANCE, replays=5).replay
    assert result and (result.episodes, result.early_ends) == (2, 0)
    assert result.observation_difference < 1e-3 and result.reward_difference == 0


def test_the_largest_difference_is_named(d4rl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = f"{BALANCE}?frame_skip=4"
    result = describe_source(str(d4rl), environment=other, replays=1).replay
    assert result and result.observation_difference > result.first_step_difference > 0.01
    assert main(["describe", str(d4rl), "--replay", "1", "--environment", other]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(
        r"differ by at most \d+\.\d+ \(observation_\d, episode 0, step \d+; 0\.\d+ after the first",
        shown,
    )


def test_states_of_another_size_are_refused_in_one_line(d4rl: Path) -> None:
    with pytest.raises(
        UsageError, match=r"InvertedDoublePendulum-v5 has observations of 9 numbers, the file 4"
    ):
        describe_source(str(d4rl), environment="InvertedDoublePendulum-v5", replays=1)
    with h5py.File(d4rl, "r") as file, h5py.File(d4rl.with_name("wide.hdf5"), "w") as wide:
        for name in file:
            file.copy(name, wide)
        qpos = np.zeros((len(file["rewards"]), 3))  # pyright: ignore
        del wide["infos/qpos"]
        wide["infos/qpos"] = qpos
    with pytest.raises(UsageError, match=r"cannot play the recorded actions \(AssertionError"):
        describe_source(str(d4rl.with_name("wide.hdf5")), environment=BALANCE, replays=1)


def test_own_files_are_played_from_their_seeds(tmp_path: Path) -> None:
    path = tmp_path / "played.npz"
    made = make_environment(PENDULUM)
    rng = np.random.default_rng(0)
    with EpisodeRecorder(path, environment=PENDULUM) as recorder:
        for seed in (5, 9):
            recorder.reset(made.reset(seed=seed)[0], seed=seed)
            for _ in range(20):
                action = rng.uniform(-2, 2, 1).astype("f4")
                observation, reward, *_ = made.step(action)
                recorder.step(action, observation, float(reward))
    made.close()
    result = describe_source(str(path), replays=2).replay
    assert result and (result.episodes, result.steps) == (2, 40)
    assert result.observation_difference < 1e-5 and (result.reward_difference or 0) < 1e-5
    with np.load(path) as arrays:
        content = dict(arrays)
    np.savez(tmp_path / "other.npz", **{**content, "seeds": content["seeds"] + 1})
    other = describe_source(str(tmp_path / "other.npz"), replays=2).replay
    assert other and other.first_step_difference > 0.01
    np.savez(tmp_path / "none.npz", **{**content, "seeds": np.where(content["seeds"] == 5, -1, 9)})
    with pytest.raises(UsageError, match="an episode has no seed"):
        describe_source(str(tmp_path / "none.npz"), replays=1)


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
