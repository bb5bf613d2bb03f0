"""robomimic's tasks are described without its simulator."""

import pytest

from qc_core import documents
from qc_core.envs.robomimic_spec import robomimic_spec
from qc_core.errors import UsageError
from qc_core.policy_format.environment_spec import EnvironmentSpec


@pytest.mark.parametrize(
    ("environment", "observations", "limit"),
    [
        ("robomimic/lift-v0", 19, 300),
        ("robomimic/can-v0", 23, 300),
        ("robomimic/square-v0", 23, 400),
    ],
)
def test_tasks_have_the_sizes_of_the_paper(environment: str, observations: int, limit: int) -> None:
    spec = robomimic_spec(environment)
    assert (spec.observation_size, spec.action_size) == (observations, 7)
    assert len(set(spec.observation_names)) == observations
    assert (spec.episode_limit, spec.control_interval) == (limit, 0.05)
    assert set(spec.action_low + spec.action_high) == {-1.0, 1.0}
    assert documents.convert(documents.to_json(spec), EnvironmentSpec, "spec") == spec


def test_an_unknown_task_suggests_the_closest_one() -> None:
    with pytest.raises(UsageError, match=r"Did you mean robomimic/can-v0\?"):
        robomimic_spec("robomimic/cans-v0")
