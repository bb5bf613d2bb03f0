"""An environment spec is read from its flat JSON form and checked."""

from typing import Any

import pytest

from qc_core import documents
from qc_core.errors import UsageError
from qc_core.policy_format.environment_spec import EnvironmentSpec, gymnasium_id, package_of

SPEC = {
    "environment": "robot/mine",
    "observation-names": ["x", "y", "z"],
    "action-names": ["u", "v"],
    "action-low": [-1.0, 0],
    "action-high": [1.0, 3],
    "episode-limit": 100,
    "control-interval-seconds": 0.05,
}


def test_a_spec_is_read_and_written() -> None:
    spec = documents.convert({**SPEC, "other": 1}, EnvironmentSpec, "spec")
    assert (spec.id, spec.control_interval, spec.action_high) == ("robot/mine", 0.05, (1.0, 3.0))
    assert (spec.observation_size, spec.action_size) == (3, 2)
    assert documents.to_json(spec) == SPEC


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action-low": [-1.0, float("nan")]}, "must be finite numbers"),
        ({"action-high": [1.0, float("inf")]}, "must be finite numbers"),
        ({"action-high": [1.0, 10**400]}, "Number out of range"),
        ({"control-interval-seconds": float("nan")}, "must be finite numbers"),
        ({"action-low": [-1.0]}, "2 actions must have as many bounds, got 1 low and 2 high ones"),
        ({"action-low": [-1.0, 4.0]}, "a low bound of the actions is above the high bound"),
        ({"episode-limit": "x"}, "`int`, got `str`"),
        ({"action-names": "uv"}, "`array`, got `str`"),
        ({"environment": None}, "`str`, got `null`"),
    ],
)
def test_an_invalid_spec_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^spec is damaged: .*{message}"):
        documents.convert({**SPEC, **change}, EnvironmentSpec, "spec")


def test_the_package_of_an_id_is_not_sought_in_its_settings() -> None:
    environment = 'my_arm.envs:Arm-v0?tool="a:b"'
    assert gymnasium_id(environment) == 'Arm-v0?tool="a:b"'
    assert package_of(environment) == "my_arm.envs"
    assert package_of('Arm-v0?tool="a:b"') is None
