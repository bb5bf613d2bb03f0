"""Every combination of rewards, ends and success information has the documented result."""

from typing import Any

import numpy as np
import pytest

from qc_core.data.formats.outcomes import OutcomeRule, Outcomes, Steps, Survey
from qc_core.errors import UsageError

# Two episodes of four steps. The first succeeds or falls in its last step, the second never.
LAST = np.array([0, 0, 0, 1, 0, 0, 0, 1], bool)
FIRST_END = np.arange(8) == 3
NOWHERE = np.zeros(8, bool)

REWARDS: dict[str, Any] = {
    "0 and 1": [0, 0, 0, 1, 0, 0, 0, 0],
    "-1 and 0": [-1, -1, -1, 0, -1, -1, -1, -1],
    "step cost and bonus": [-0.1, -0.1, -0.1, 5, -0.1, -0.1, -0.1, -0.1],
    "success that lasts": [0, 1, 1, 1, 0, 0, 0, 0],
    "0, 1 and a penalty": [0, 0, 0, 1, 0, 0, 0, -5],
    "penalty": [0, 0, 0, -10, 0, 0, 0, 0],
    "alive until it falls": [1, 1, 1, 0, 1, 1, 1, 1],
    "dense": [0.1, 0.4, 0.2, 0.5, 0.3, 0.15, 0.35, 0.25],
    "dense with a fall": [0.1, 0.4, 0.2, -9, 0.3, 0.15, 0.35, 0.25],
    "dense with a bonus": [0.1, 0.4, 0.2, 9, 0.3, 0.15, 0.35, 0.25],
    "stages": [0, 1, 2, 3, 0, 1, 1, 1],
    "all 0": [0] * 8,
    "all -1": [-1] * 8,
    "none": None,
}


def decide(
    choice: str = "auto", rewards: Any = "none", **more: Any
) -> tuple[OutcomeRule, Outcomes]:
    values = REWARDS[rewards]
    steps = Steps(
        last=LAST, rewards=None if values is None else np.array(values, np.float32), **more
    )
    survey = Survey()
    survey.add(steps)
    rule = OutcomeRule("data", survey, choice)
    return rule, rule(steps)


def rows(flags: np.ndarray) -> list[int]:
    return np.flatnonzero(flags).tolist()


@pytest.mark.parametrize("done", [None, LAST, NOWHERE])
@pytest.mark.parametrize(
    ("rewards", "success", "terminated"),
    [
        ("0 and 1", [3], [3]),
        ("-1 and 0", [3], [3]),
        ("step cost and bonus", [3], [3]),
        ("success that lasts", [1, 2, 3], [1, 2, 3]),
        ("0, 1 and a penalty", [3], [3, 7]),
        ("penalty", None, [3]),
        ("alive until it falls", None, [3]),
        ("dense", None, []),
        ("dense with a fall", None, [3]),
        ("dense with a bonus", [3], [3]),
        ("stages", None, []),
        ("all 0", [], []),
        ("all -1", [], []),
        ("none", None, []),
    ],
)
def test_rewards_decide_if_done_marks_every_end_or_none(
    rewards: str, success: list[int] | None, terminated: list[int], done: Any
) -> None:
    rule, outcomes = decide(rewards=rewards, done=done)
    assert rule.reports_success == (success is not None)
    assert rows(outcomes.success) == (success or [])
    assert rows(outcomes.terminated) == terminated
    expected = np.zeros(8) if REWARDS[rewards] is None else np.array(REWARDS[rewards], np.float32)
    np.testing.assert_array_equal(outcomes.rewards, expected)
    assert bool(rule.notes) == (success is None)


@pytest.mark.parametrize("rewards", REWARDS)
def test_done_in_some_episodes_ends_their_task(rewards: str) -> None:
    _, outcomes = decide(rewards=rewards, done=FIRST_END)
    others = [1, 2] if rewards == "success that lasts" else []
    penalty = [7] if rewards == "0, 1 and a penalty" else []
    assert rows(outcomes.terminated) == [*others, 3, *penalty]


@pytest.mark.parametrize("rewards", REWARDS)
def test_recorded_terminations_alone_end_the_task(rewards: str) -> None:
    _, outcomes = decide(rewards=rewards, terminated=np.arange(8) == 7, done=LAST)
    assert rows(outcomes.terminated) == [7]


@pytest.mark.parametrize("rewards", ["dense", "0 and 1", "all 0", "none"])
def test_recorded_success_decides_before_rewards(rewards: str) -> None:
    success = np.arange(8) == 6
    rule, outcomes = decide(rewards=rewards, success=success, done=LAST)
    assert rule.reports_success and not rule.notes
    assert rows(outcomes.success) == rows(outcomes.terminated) == [6]
    if rewards == "none":
        np.testing.assert_array_equal(outcomes.rewards, success)


@pytest.mark.parametrize(
    ("choice", "rewards", "success"),
    [
        ("reward", "0 and 1", [3]),
        ("reward", "-1 and 0", [3]),
        ("done", "dense", [3, 7]),
        ("done", "none", [3, 7]),
        ("final-reward>=0.5", "dense", [3]),
        ("final-reward>=-1", "all -1", [3, 7]),
        ("final-reward>=2", "stages", [3]),
        ("none", "0 and 1", []),
    ],
)
def test_an_option_decides_before_everything_that_is_recorded(
    choice: str, rewards: str, success: list[int]
) -> None:
    for recorded in ({}, {"success": NOWHERE}, {"terminated": NOWHERE}):
        rule, outcomes = decide(choice, rewards, done=LAST, **recorded)
        assert rule.reports_success
        assert rows(outcomes.success) == rows(outcomes.terminated) == success
        if rewards == "none":
            assert rows(outcomes.rewards > 0) == success


@pytest.mark.parametrize(
    ("choice", "rewards", "message"),
    [
        ("reward", "dense", "needs sparse rewards, .*they are dense: choose a threshold"),
        ("reward", "stages", "they are 0, 1, 2, 3: choose a threshold"),
        ("reward", "none", "needs rewards, it has none"),
        ("final-reward>=1", "none", "needs rewards, it has none"),
        ("done", "dense", r"needs a column such as next\.done, it has none"),
        ("final-reward>=x", "dense", "must be auto, reward, done, none or final-reward>=NUMBER"),
        ("final-reward>=nan", "dense", "must be auto, reward"),
        ("success", "dense", "must be auto, reward"),
    ],
)
def test_an_option_that_the_data_cannot_satisfy_is_refused(
    choice: str, rewards: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        decide(choice, rewards)
