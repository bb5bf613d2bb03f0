"""Environments are described and reproducible, and unsupported ones are refused."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from qc_core.envs.make import describe, make_environment
from qc_core.errors import UsageError
from tests.conftest import ENVIRONMENT


def test_the_cube_environments_are_described_with_names() -> None:
    spec = describe(ENVIRONMENT)
    assert (spec.observation_size, spec.action_size, spec.episode_limit) == (28, 5, 200)
    assert spec.control_interval == pytest.approx(0.05)
    assert spec.observation_names[12] == "effector_x"
    assert spec.observation_names[19] == "cube_0_position_x"
    assert describe("cube-double-singletask-task1-v0").observation_names[-1] == "cube_1_yaw_sin"


def test_other_vector_environments_have_numbered_names() -> None:
    spec = describe("Pendulum-v1")
    assert spec.observation_names == ("observation_0", "observation_1", "observation_2")


def test_observation_names_are_in_the_order_of_the_observations() -> None:
    environment = make_environment(ENVIRONMENT)
    observation, info = environment.reset(seed=1)
    names = describe(ENVIRONMENT).observation_names
    at = names.index("cube_0_position_x")
    centre, scale = np.array([0.425, 0.0, 0.0]), 10.0
    np.testing.assert_allclose(
        observation[at : at + 3] / scale + centre, info["privileged/block_0_pos"], atol=1e-9
    )
    environment.close()


def test_the_same_seed_gives_the_same_episode_bit_for_bit() -> None:
    fresh, used = make_environment(ENVIRONMENT), make_environment(ENVIRONMENT)
    used.reset(seed=9)
    rng = np.random.default_rng(0)
    for _ in range(30):
        used.step(rng.uniform(-1, 1, 5))
    first, _ = fresh.reset(seed=3)
    second, _ = used.reset(seed=3)
    np.testing.assert_array_equal(first, second)
    for _ in range(100):
        action = rng.uniform(-1, 1, 5)
        first, *_ = fresh.step(action)
        second, *_ = used.step(action)
        np.testing.assert_array_equal(first, second)
    fresh.close()
    used.close()


class Reacher(gymnasium.Env):
    """Observations in parts, and actions of any size and type if asked for."""

    def __init__(self, bound: float, kind: type = np.float32) -> None:
        part = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = gymnasium.spaces.Dict({"b": part, "a": part})
        self.action_space = gymnasium.spaces.Box(-bound, bound, (1,), kind)  # pyright: ignore

    def reset(self, **_) -> tuple[Any, dict[str, Any]]:
        return {"b": np.full(2, 2, np.float32), "a": np.ones(2, np.float32)}, {}


@pytest.fixture
def reacher():
    gymnasium.register("Reacher-test-v0", f"{__name__}:Reacher", max_episode_steps=5)
    yield "Reacher-test-v0"
    del gymnasium.registry["Reacher-test-v0"]


def test_dict_observations_are_flattened_in_key_order(reacher: str) -> None:
    environment = make_environment(reacher, bound=2.0)
    np.testing.assert_array_equal(environment.reset()[0], [1, 1, 2, 2])


@pytest.mark.parametrize("bound", [np.inf, float(np.finfo(np.float32).max)])
def test_actions_without_bounds_are_refused(reacher: str, bound: float) -> None:
    gymnasium.registry[reacher].kwargs = {"bound": bound}
    with pytest.raises(UsageError, match=r"actions must be bounded.*finite bounds"):
        describe(reacher)


def test_actions_of_integers_are_refused(reacher: str) -> None:
    gymnasium.registry[reacher].kwargs = {"bound": 3, "kind": np.int64}
    with pytest.raises(UsageError, match="actions must be vectors of real numbers"):
        describe(reacher)


class Loading(Reacher):
    """Its control interval cannot be computed before a reset."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self.metadata = {"render_fps": 50}
        flags = gymnasium.spaces.MultiBinary(2)
        self.observation_space = gymnasium.spaces.Tuple((self.observation_space, flags))

    @property
    def dt(self) -> float:
        raise RuntimeError("the simulator is not loaded")

    def reset(self, **options) -> tuple[Any, dict[str, Any]]:
        return (super().reset(**options)[0], np.array([0, 1], np.int8)), {}


def test_flags_and_tuples_are_flattened_and_an_interval_that_fails_is_none() -> None:
    gymnasium.register("Loading-test-v0", f"{__name__}:Loading")
    with pytest.raises(
        UsageError, match=r"an episode limit is needed.*'Loading-test-v0\?max_episode_steps=500'"
    ):
        describe("Loading-test-v0")
    limited = "Loading-test-v0?max_episode_steps=7"
    spec = describe(limited)
    assert (spec.episode_limit, spec.control_interval) == (7, 0.02)
    assert spec.observation_names == ("0_a_0", "0_a_1", "0_b_0", "0_b_1", "1_0", "1_1")
    environment = make_environment(limited)
    np.testing.assert_array_equal(environment.reset()[0], [1, 1, 2, 2, 0, 1])
    del gymnasium.registry["Loading-test-v0"]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ("cube-singel-singletask-task1-v0", "Did you mean cube-single-singletask-task1-v0"),
        ("visual-cube-single-v0", "it gives images"),
        ("robot/so101", "has no simulator here"),
        ("CartPole-v1", "actions must be vectors"),
        ("../etc/passwd", "unknown environment"),
    ],
)
def test_unsupported_environments_are_refused(environment: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_environment(environment)
