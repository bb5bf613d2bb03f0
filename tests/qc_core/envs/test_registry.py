"""Environments of any package are found, made and described; what cannot work is refused."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from qc_core.envs import registry
from qc_core.envs.make import describe, make_environment
from qc_core.envs.play import rollout
from qc_core.envs.registry import find_environment, has_simulator
from qc_core.errors import UsageError
from tests.qc_core.envs.reach_package import write_package


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an importable package that registers `Reach-v0`."""
    write_package(tmp_path, "my_reach")
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_reach"
    gymnasium.registry.pop("Reach-v0", None)
    sys.modules.pop("my_reach", None)


def test_an_id_with_a_package_imports_it(package: str) -> None:
    spec = describe(f"{package}:Reach-v0")
    assert spec.id == "my_reach:Reach-v0"
    # gymnasium.spaces.Dict sorts its keys.
    assert spec.observation_names == ("goal_0", "goal_1", "position_0", "position_1")
    assert (spec.episode_limit, spec.control_interval) == (8, 0.1)
    made = make_environment(f"{package}:Reach-v0")
    observation, _ = made.reset(seed=0)
    assert observation[:2].min() >= 1 and not observation[2:].any()
    result = rollout(made, lambda observation_O: np.ones(2, np.float32), seed=0)
    assert result.reports_success


def test_entry_points_of_installed_packages_are_found(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [
        EntryPoint("__root__", "not_there", "gymnasium.envs"),
        EntryPoint("mine", package, "gymnasium.envs"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert find_environment("mine/Reach-v0").id == "mine/Reach-v0"
    with pytest.raises(UsageError, match=r"Did you mean .* that failed: not_there"):
        find_environment("mine/Reachh-v0")
    del gymnasium.registry["mine/Reach-v0"]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ("not_there:Reach-v0", "no package 'not_there' here; install it"),
        ("broken:Reach-v0", r"broken cannot be imported \(ModuleNotFoundError: .*needs_this"),
        ("my_reach:Other-v0", "registers no environment 'Other-v0'"),
        ("my reach:Other-v0", "not the name of a Python package"),
    ],
)
def test_packages_that_cannot_be_used_are_refused(
    package: str, tmp_path: Path, environment: str, message: str
) -> None:
    (tmp_path / "broken.py").write_text("import needs_this")
    with pytest.raises(UsageError, match=message):
        find_environment(environment)


def test_robots_and_recorded_data_have_no_simulator(package: str) -> None:
    assert not has_simulator("robot/so101") and not has_simulator("minari/door/human-v2")
    assert has_simulator(f"{package}:Reach-v0") and has_simulator("Pendulum-v1")


class Silent(gymnasium.Env):
    """An environment that reports what the test wants it to."""

    def __init__(self, **attributes: Any) -> None:
        self.observation_space = gymnasium.spaces.Box(-1, 1, (1,))
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,))
        for name, value in attributes.items():
            setattr(self, name, value)


@pytest.fixture
def silent() -> Iterator[str]:
    gymnasium.register("Silent-v0", Silent, max_episode_steps=5)
    yield "Silent-v0"
    del gymnasium.registry["Silent-v0"]


def test_the_control_interval_comes_from_the_environment_or_is_given(silent: str) -> None:
    with pytest.raises(UsageError, match="give it with --control-interval SECONDS"):
        describe(silent)
    assert describe(silent, 0.2).control_interval == 0.2
    settings = gymnasium.registry[silent].kwargs
    settings["metadata"] = {"render_fps": 20}
    assert describe(silent).control_interval == 0.05
    assert describe(silent, 0.2).control_interval == 0.2
    # As PointMaze, whose `render_fps` is not its control rate.
    settings["inner"] = Silent(dt=0.01)
    assert describe(silent).control_interval == 0.01
    settings["dt"] = 0.02
    assert describe(silent, 0.02).control_interval == 0.02
    with pytest.raises(UsageError, match=r"is 0\.2 s, but Silent-v0 reports 0\.02 s \(dt\)"):
        describe(silent, 0.2)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (gymnasium.spaces.Dict(image=gymnasium.spaces.Box(0, 1, (8, 8))), "observation 'image'"),
        (gymnasium.spaces.Discrete(3), "but the observation is Discrete"),
    ],
)
def test_observations_that_are_not_vectors_are_refused(
    silent: str, space: gymnasium.Space, message: str
) -> None:
    gymnasium.registry[silent].kwargs["observation_space"] = space
    with pytest.raises(UsageError, match=message):
        make_environment(silent)


def test_an_environment_without_an_episode_limit_is_refused(silent: str) -> None:
    gymnasium.registry[silent].max_episode_steps = None
    with pytest.raises(UsageError, match="register it with max_episode_steps"):
        describe(silent, 0.1)
