"""Minari datasets are converted to episodes, and no code that they name is run."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Tuple
from minari.data_collector.episode_buffer import EpisodeBuffer

from qc_core.config.settings import Config, DataConfig
from qc_core.data.dataset.dataset import open_dataset
from qc_core.data.describe import describe_source
from qc_core.data.ingest import ingest
from qc_core.data.replay.replay import OfflineData
from qc_core.envs.make import describe
from qc_core.errors import RunError, UsageError
from tests.qc_core.data.reading import read_all
from tests.qc_core.envs.reach_package import write_package

# Minari would like to know who wrote a dataset.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")

ID = "pendulum/swing-v0"
LENGTHS = (3, 4)
BOX = Box(-8, 8, (3,), np.float32)
PAIR = Tuple((Box(-9, 9, (2,)), Dict({"open": MultiBinary(2)})))
NESTED = Dict({"hand": Dict({"y": Box(-9, 9, (2,)), "x": Box(-9, 9, ())}), "goal": BOX})


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def create(space: gymnasium.Space = BOX, data_format: str = "hdf5", **options: Any) -> list[Any]:
    """A dataset of two episodes of Pendulum, the first terminated, the second cut off."""
    rng = np.random.default_rng(0)
    space.seed(0)
    buffers = []
    for number, steps in enumerate(LENGTHS):
        last = np.arange(steps) == steps - 1
        samples = [space.sample() for _ in range(steps + 1)]
        buffers.append(
            EpisodeBuffer(
                id=number,
                observations=stacked(samples),
                actions=list(rng.uniform(-2, 2, (steps, 1)).astype("f4")),
                rewards=list(rng.normal(size=steps)),
                terminations=last & (number == 0),
                truncations=last & (number == 1),
            )
        )
    minari.create_dataset_from_buffers(
        ID,
        buffers,
        **{"env": "Pendulum-v1", "observation_space": space, **options},
        data_format=data_format,
    )
    return buffers


def stacked(samples: list[Any]) -> Any:
    if isinstance(samples[0], dict):
        return {key: stacked([sample[key] for sample in samples]) for key in samples[0]}
    if isinstance(samples[0], tuple):
        return tuple(stacked(list(parts)) for parts in zip(*samples, strict=True))
    return np.stack(samples)


@pytest.fixture
def pendulum(config: Config) -> Config:
    data = replace(config.data, source=(f"minari:{ID}",))
    return replace(config, environment="Pendulum-v1", data=data)


@pytest.fixture
def metadata(root: Path) -> Callable[[dict[str, Any]], None]:
    """Change the metadata of the dataset; None takes an entry away."""

    def change(entries: dict[str, Any]) -> None:
        path = root / ID / "data/metadata.json"
        merged = json.loads(path.read_text()) | entries
        path.write_text(json.dumps({k: v for k, v in merged.items() if v is not None}))

    return change


@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
@pytest.mark.parametrize("space", [BOX, NESTED, PAIR])
def test_transitions_match_the_minari_data_set(
    tmp_path: Path,
    pendulum: Config,
    metadata: Callable[[dict[str, Any]], None],
    data_format: str,
    space: gymnasium.Space,
) -> None:
    buffers = create(space, data_format)
    if space is not BOX:
        with pytest.raises(UsageError, match=r"observations of [46] numbers, Pendulum-v1 of 3"):
            ingest(pendulum, tmp_path / "dataset")
        metadata({"env_spec": None})
        pendulum = replace(pendulum, environment=f"minari/{ID}", control_interval=0.1)
    read_all(pendulum, tmp_path / "dataset")
    dataset = open_dataset(tmp_path / "dataset", verify=True)
    data = OfflineData(dataset, torch.device("cpu"), DataConfig())
    every, row = torch.arange(data.size), 0
    for buffer, steps in zip(buffers, LENGTHS, strict=True):
        rows: list[Any] = [
            gymnasium.spaces.flatten(space, at(buffer.observations, i)) for i in range(steps + 1)
        ]
        flat = np.stack(rows)
        here = every[row : row + steps]
        np.testing.assert_allclose(data.observations_at(here), flat[:-1], rtol=1e-6)
        np.testing.assert_allclose(data.next_observations_at(here), flat[1:], rtol=1e-6)
        np.testing.assert_array_equal(dataset.actions[row : row + steps], buffer.actions)
        np.testing.assert_allclose(dataset.rewards[row : row + steps], buffer.rewards, rtol=1e-6)
        row += steps
    np.testing.assert_array_equal(dataset.masks, [1, 1, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(dataset.terminals, [0, 0, 1, 0, 0, 0, 1])
    assert dataset.info.source.dataset == ID


def at(observations: Any, step: int) -> Any:
    if isinstance(observations, dict):
        return {key: at(values, step) for key, values in observations.items()}
    if isinstance(observations, tuple):
        return tuple(at(values, step) for values in observations)
    return observations[step]


def test_an_episode_ends_with_its_data_even_if_not_marked(
    tmp_path: Path, root: Path, pendulum: Config
) -> None:
    create()
    with h5py.File(root / ID / "data/main_data.hdf5", "a") as file:
        episode: Any = file["episode_1"]
        episode["truncations"][:] = False
    ingest(pendulum, tmp_path / "dataset")
    dataset = open_dataset(tmp_path / "dataset")
    np.testing.assert_array_equal(dataset.terminals, [0, 0, 1, 0, 0, 0, 1])


@pytest.mark.parametrize(
    ("infos", "rewards", "solved"),
    [
        # `info` of the reset comes first.
        ({"is_success": np.array([0, 0, 0, 1], bool)}, None, 2),
        ({"success": np.array([0.0, 0.0, 0.0])}, None, 0),
        ({}, None, None),
        ({}, [[0, 0, 0], [0, 1, 0, 1]], 1),
        ({}, [[-1, -1, 0], [-1, -1, 0, 0]], 2),
        ({}, [[-1, -1, -1], [-1, -1, -1, -1]], 0),
    ],
)
def test_info_or_sparse_rewards_tell_success_and_terminations_end_the_task(
    tmp_path: Path,
    root: Path,
    pendulum: Config,
    infos: dict[str, Any],
    rewards: Any,
    solved: int | None,
) -> None:
    create()
    with h5py.File(root / ID / "data/main_data.hdf5", "a") as file:
        for number, steps in enumerate(LENGTHS):
            episode: Any = file[f"episode_{number}"]
            for name, values in infos.items():
                padded = np.concatenate([np.zeros_like(values)[:number], values])
                episode.create_group("infos").create_dataset(name, data=padded)
            if rewards is not None:
                del episode["rewards"]
                # A column, as some recorders write it.
                episode["rewards"] = np.array(rewards[number], float).reshape(steps, 1)
    info = ingest(pendulum, tmp_path / "dataset")
    assert (info.solved_episodes, info.reports_success) == (solved, solved is not None)
    assert open_dataset(tmp_path / "dataset").masks.tolist() == [1, 1, 0, 1, 1, 1, 1]


def test_an_installed_environment_provides_the_spec(tmp_path: Path, pendulum: Config) -> None:
    create()
    ingest(pendulum, tmp_path / "dataset")
    assert open_dataset(tmp_path / "dataset").spec == describe("Pendulum-v1")


def test_metadata_provide_the_spec_of_an_environment_that_is_not_installed(
    tmp_path: Path, pendulum: Config, metadata: Callable[[dict[str, Any]], None]
) -> None:
    create(NESTED)
    recorded = json.loads(gymnasium.spec("Pendulum-v1").to_json())
    ran = tmp_path / "ran"
    recorded |= {"id": "Robot-v3", "entry_point": "os:mkdir", "kwargs": {"path": str(ran)}}
    metadata({"env_spec": json.dumps(recorded)})
    with pytest.raises(
        UsageError, match="rewards for Robot-v3, not Pendulum-v1: give --environment"
    ):
        ingest(pendulum, tmp_path / "dataset")
    robot = replace(pendulum, environment="Robot-v3")
    with pytest.raises(UsageError, match="control interval of Robot-v3 is unknown"):
        ingest(robot, tmp_path / "dataset")
    ingest(replace(robot, control_interval=0.1), tmp_path / "dataset")
    spec = open_dataset(tmp_path / "dataset").spec
    assert (spec.id, spec.episode_limit, spec.action_low, spec.action_high) == (
        *("Robot-v3", 200),
        *((-2.0,), (2.0,)),
    )
    assert spec.observation_names == (
        *("goal_0", "goal_1", "goal_2"),
        *("hand_x_0", "hand_y_0", "hand_y_1"),
    )
    assert not ran.exists()


def test_an_environment_of_a_package_is_found_if_a_person_names_the_package(
    tmp_path: Path,
    pendulum: Config,
    metadata: Callable[[dict[str, Any]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_package(tmp_path, "minari_arm")
    monkeypatch.syspath_prepend(tmp_path)
    part = Box(-9, 9, (2,), np.float64)
    create(Dict({"goal": part, "position": part}), action_space=Box(-1, 1, (1,)))
    recorded = json.loads(gymnasium.spec("Pendulum-v1").to_json())
    recorded |= {"id": "Reach-v0", "entry_point": "other.arm:Reach", "kwargs": {}}
    metadata({"env_spec": json.dumps(recorded)})
    assert any(
        "if a package registers it, give --environment PACKAGE:Reach-v0" in note
        for note in describe_source(f"minari:{ID}").notes
    )
    named = replace(pendulum, environment="minari_arm:Reach-v0")
    with pytest.raises(UsageError, match=r"actions of 1 numbers, minari_arm:Reach-v0.* of 2"):
        ingest(named, tmp_path / "dataset")


def test_an_argument_that_was_added_later_is_named(
    tmp_path: Path, pendulum: Config, metadata: Callable[[dict[str, Any]], None]
) -> None:
    create()
    gymnasium.register("Swing-v0", "gymnasium.envs.classic_control:PendulumEnv", kwargs={"g": 3})
    recorded = json.loads(gymnasium.spec("Swing-v0").to_json())
    metadata({"env_spec": json.dumps(recorded | {"kwargs": {}})})
    with pytest.raises(UsageError, match="installed one has the argument g=3, the recorded one"):
        ingest(replace(pendulum, environment="Swing-v0"), tmp_path / "dataset")
    del gymnasium.registry["Swing-v0"]


def test_a_data_set_without_an_environment_gives_its_own_name(
    tmp_path: Path, pendulum: Config, metadata: Callable[[dict[str, Any]], None]
) -> None:
    create()
    metadata({"env_spec": None})
    own = replace(pendulum, environment=f"minari/{ID}", control_interval=0.1)
    ingest(own, tmp_path / "dataset")
    assert open_dataset(tmp_path / "dataset").spec.episode_limit == max(LENGTHS)


def test_metadata_that_would_run_code_are_refused(
    tmp_path: Path, root: Path, pendulum: Config, metadata: Callable[[dict[str, Any]], None]
) -> None:
    create()
    recorded = json.loads(gymnasium.spec("Pendulum-v1").to_json())
    ran = tmp_path / "ran"
    recorded |= {"entry_point": "os:mkdir", "kwargs": {"path": str(ran)}}
    metadata({"env_spec": json.dumps(recorded), "action_space": None})
    with pytest.raises(UsageError, match="required field `action_space`"):
        ingest(pendulum, tmp_path / "dataset")
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"observation_space": "{"}, "damaged or of an unknown version"),
        ({"observation_space": '{"type": "Mind"}'}, "damaged or of an unknown version"),
        ({"env_spec": "{}"}, "damaged or of an unknown version"),
        ({"minari_version": "9.0"}, "damaged or of an unknown version: .*does not support"),
        ({"data_format": "csv"}, "damaged or of an unknown version"),
        ({"total_episodes": 0}, "contains no episodes"),
        ({"total_episodes": 3}, "damaged or of an unknown version: .*episode_2"),
    ],
)
def test_invalid_metadata_are_refused_and_no_files_are_written(
    tmp_path: Path,
    root: Path,
    pendulum: Config,
    metadata: Callable[[dict[str, Any]], None],
    entries: dict[str, Any],
    message: str,
) -> None:
    create()
    metadata(entries)
    with pytest.raises(UsageError, match=message) as refusal:
        ingest(pendulum, tmp_path / "dataset")
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == [root]


def test_spaces_that_are_not_vectors_are_refused(tmp_path: Path, pendulum: Config) -> None:
    create(Dict({"camera": Box(0, 255, (8, 8, 3), np.uint8)}))
    with pytest.raises(
        UsageError, match="camera must be vectors or dictionaries of vectors, got Box"
    ):
        ingest(pendulum, tmp_path / "dataset")


@pytest.mark.parametrize(
    "space", [Discrete(3), Box(-np.inf, np.inf, (1,)), Box(0, 3, (1,), np.int64)]
)
def test_actions_without_bounds_are_refused(
    tmp_path: Path, pendulum: Config, space: gymnasium.Space
) -> None:
    create(action_space=space)
    with pytest.raises(UsageError, match="actions must be bounded vectors of real numbers, got"):
        ingest(pendulum, tmp_path / "dataset")


def test_damaged_data_are_refused(tmp_path: Path, root: Path, pendulum: Config) -> None:
    create()
    path = root / ID / "data/main_data.hdf5"
    with h5py.File(path, "a") as file:
        episode: Any = file["episode_1"]
        episode["rewards"][2] = np.nan
    with pytest.raises(UsageError, match=f"minari:{ID}, episode 1: rewards holds NaN .* in row 2"):
        ingest(pendulum, tmp_path / "dataset")
    with h5py.File(path, "a") as file:
        episode = file["episode_1"]
        del episode["actions"]
        episode["actions"] = np.zeros((9, 1))
    with pytest.raises(UsageError, match="is damaged"):
        ingest(pendulum, tmp_path / "dataset")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UsageError, match="is damaged") as refusal:
        ingest(pendulum, tmp_path / "dataset")
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.parametrize("observations", [0, 1])
def test_an_episode_without_steps_is_refused(
    tmp_path: Path, root: Path, pendulum: Config, observations: int
) -> None:
    create()
    with h5py.File(root / ID / "data/main_data.hdf5", "a") as file:
        episode: Any = file["episode_1"]
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            values = episode[name][: observations if name == "observations" else 0]
            del episode[name]
            episode[name] = values
    with pytest.raises(UsageError, match=f"minari:{ID}, episode 1 has no steps"):
        ingest(pendulum, tmp_path / "dataset")


def test_an_invalid_id_and_an_unreachable_server_give_one_line(
    tmp_path: Path, pendulum: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("", "swing", "a b-v0", "../x"):
        wrong = replace(pendulum, data=replace(pendulum.data, source=(f"minari:{name}",)))
        with pytest.raises(UsageError, match="is not a Minari id"):
            ingest(wrong, tmp_path / "dataset")
    monkeypatch.setenv("MINARI_REMOTE", "nowhere://nobody")
    with pytest.raises(RunError, match="cannot be downloaded") as refusal:
        ingest(pendulum, tmp_path / "dataset")
    assert "\n" not in str(refusal.value)
