"""An id may contain other settings of an environment than those it is registered with."""

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import WrapperSpec

from qc_core.envs.make import describe, make_environment
from qc_core.envs.variants import differences, split_settings, with_settings
from qc_core.errors import UsageError

PENDULUM = "Pendulum-v1"


def test_settings_reach_the_environment() -> None:
    wrapper = ["RescaleAction", "gymnasium.wrappers:RescaleAction"]
    name = with_settings(
        PENDULUM,
        {
            "g": 3.5,
            "max_episode_steps": 7,
            "additional_wrappers": [[*wrapper, {"min_action": -1.0, "max_action": 1.0}]],
        },
    )
    made = make_environment(name)
    assert made.unwrapped.g == 3.5  # pyright: ignore[reportAttributeAccessIssue]
    assert describe(name).episode_limit == 7
    assert describe(name).action_high == (1.0,)
    assert describe(PENDULUM).episode_limit == 200
    made.close()


def test_differences_describe_a_recorded_environment() -> None:
    registered = gymnasium.spec(PENDULUM)
    recorded = gymnasium.make(PENDULUM, g=3.5, max_episode_steps=7, render_mode="rgb_array").spec
    assert recorded is not None
    assert differences(recorded, registered) == {"g": 3.5, "max_episode_steps": 7}
    assert differences(registered, registered) == {}
    recorded.additional_wrappers = (WrapperSpec("FlattenObservation", "gymnasium.wrappers", {}),)
    assert "additional_wrappers" not in differences(recorded, registered)


def test_settings_survive_being_written_as_text() -> None:
    settings = {"maze_map": [[1, "r"], [0, 1]], "name": "a&b=c:d?", "on": True}
    assert split_settings(with_settings("Maze-v3", settings)) == ("Maze-v3", settings)
    assert with_settings("Maze-v3", {}) == "Maze-v3"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("g=fast", "the value of g must be JSON"),
        ("max_episode_steps=0", "must be a positive integer, got 0"),
        ("additional_wrappers=3", r"must be a list of \[name, entry point, arguments\]"),
        ('additional_wrappers=[["W","os:system",{}]]', "is not one of Gymnasium's"),
        ("gravity=1", "cannot be made here"),
    ],
)
def test_invalid_settings_are_refused(query: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_environment(f"{PENDULUM}?{query}")


def test_settings_change_no_registration() -> None:
    make_environment(f"{PENDULUM}?max_episode_steps=7").close()
    assert gymnasium.spec(PENDULUM).max_episode_steps == 200
    observation, _ = make_environment(PENDULUM).reset(seed=0)
    assert np.isfinite(observation).all()
