"""A user's own function demonstrates in any environment."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qc_core.data.collection.collect import collect_demonstrations
from qc_core.data.collection.user_demonstrator import Demonstration
from qc_core.errors import UsageError
from tests.conftest import PENDULUM
from tests.failing_environment import failing

Demonstrate = Callable[..., list[Demonstration]]


@pytest.fixture
def demonstrate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demonstrate:
    """Collects two episodes of a function `act` whose program is given."""
    monkeypatch.syspath_prepend(tmp_path)

    def collect(program: str, workers: int = 1) -> list[Demonstration]:
        sys.modules.pop("demonstrator", None)
        (tmp_path / "demonstrator.py").write_text(f"import numpy as np\n{program}")
        return list(collect_demonstrations(PENDULUM, "demonstrator:act", [3, 4], workers=workers))

    return collect


def test_actions_within_the_bounds_are_executed_and_recorded(demonstrate: Demonstrate) -> None:
    # The pendulum's actions are from -2 to 2.
    program = "def act(observation, step, rng): return [3.0 if step < 5 else rng.uniform(-2, 2)]"
    first, second = demonstrate(program)
    assert (first.clipped, first.result.seed, first.result.steps) == (5, 3, 200)
    episodes = first.episodes
    assert episodes.observations.shape == (201, 3) and episodes.terminals.sum() == 1
    np.testing.assert_array_equal(episodes.actions[:5], 2)
    assert episodes.rewards.sum() == pytest.approx(first.result.episode_return, rel=1e-5)
    assert not np.array_equal(episodes.actions, second.episodes.actions)
    assert episodes.masks.all()


def test_an_environment_that_crashes_costs_its_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resting.py").write_text("def act(observation): return [0.0] * 5")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "failures").mkdir()
    environment = failing("crashes", 1, tmp_path / "failures")
    collected = collect_demonstrations(environment, "resting:act", [3, 4, 5])
    assert [demonstration.result.seed for demonstration in collected] == [4, 5]


def test_further_parameters_are_passed_by_name(demonstrate: Demonstrate) -> None:
    program = (
        "def act(observation, *, environment, info):\n"
        "    assert isinstance(info, dict)\n"
        "    return [environment.state[0] / 9]"
    )
    (first, _) = demonstrate(program)
    angle = np.arctan2(first.episodes.observations[0, 1], first.episodes.observations[0, 0])
    assert first.episodes.actions[0, 0] == pytest.approx(angle / 9, abs=1e-5)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("def act(observation): return 1 / 0", "failed in step 0 .* ZeroDivisionError"),
        ("def act(observation): return [1, 2]", r"must return 1 finite numbers, got \[1.0, 2.0\]"),
        ("def act(observation): return [np.nan]", r"got \[nan\] in step 0"),
        ("def act(observation, goal): return [0]", "must take an observation, and may take rng"),
        ("def other(observation): return [0]", "has no attribute 'act'"),
        ("act = 3", "must be a function, got 3"),
        ("import not_there", "No module named 'not_there'"),
    ],
)
def test_functions_that_cannot_demonstrate_are_refused(
    demonstrate: Demonstrate, program: str, message: str
) -> None:
    with pytest.raises(UsageError, match=f"--data.demonstrator demonstrator:act.*{message}"):
        demonstrate(program)
