"""Where no success is told, a challenger passes by winning more of the episodes than it loses."""

import numpy as np
import pytest

from qc_core.publish.gate.returns import ReturnDuel
from qc_core.publish.gate.rule import Decision, Games
from tests.qc_core.publish.gate.games import untold

BETTER, NOT_WORSE = ReturnDuel(0.0), ReturnDuel(0.1)


def games(gains: list[float]) -> Games:
    """Games in which the challenger's return is so much higher than the champion's -100."""
    return {
        "champion": untold([-100.0] * len(gains)),
        "challenger": untold([gain - 100 for gain in gains]),
    }


@pytest.mark.parametrize(
    ("rule", "gains", "decision"),
    [
        (BETTER, [1.0] * 20, "passed"),
        (BETTER, [-1.0] * 20, "failed"),
        (BETTER, [0.0] * 200, "undecided"),
        (BETTER, [1.0] * 5, "undecided"),
        # How far apart they are is nothing: one lucky episode makes no champion.
        (BETTER, [1e9, *[-0.1] * 30], "failed"),
        (NOT_WORSE, [0.0] * 200, "passed"),
        (NOT_WORSE, [-1.0] * 20, "failed"),
    ],
)
def test_wins_are_counted(rule: ReturnDuel, gains: list[float], decision: Decision) -> None:
    assert rule.decide(games(gains)) == decision


def test_who_is_no_better_passes_seldom_though_one_looks_after_every_game() -> None:
    passed = 0
    for gains in np.random.default_rng(0).normal(size=(150, 60)):
        looks = (BETTER.decide(games(list(gains[:count]))) for count in range(1, 61))
        passed += next((look for look in looks if look != "undecided"), "") == "passed"
    assert passed / 150 <= 0.025


def test_the_figures_are_the_games_and_the_rule_says_its_numbers() -> None:
    told = BETTER.figures(games([3.0] * 30 + [-1.0] * 5 + [0.0] * 5))
    assert told["wins-less-losses"]["value"] == pytest.approx(25 / 40)
    assert told["wins-less-losses"]["low"] > 0
    assert told["reason"].startswith("better: its return was higher in 30 and lower in 5 of 40 ")
    assert told["reason"].endswith("the environment tells no success (info['success'])")
    assert BETTER.text.startswith("better: the environment tells no success (info['success']), ")
    assert "lies above 0" in BETTER.text and "lies above -0.1" in NOT_WORSE.text
