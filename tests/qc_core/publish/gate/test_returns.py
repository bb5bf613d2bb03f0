"""Without a success signal, a challenger passes by winning more episodes than it loses."""

import numpy as np
import pytest

from qc_core.publish.gate.returns import ReturnDuel
from qc_core.publish.gate.rule import Decision, Episodes
from tests.qc_core.publish.gate.episodes import with_returns

BETTER, NOT_WORSE = ReturnDuel(0.0), ReturnDuel(0.1)


def episodes(gains: list[float]) -> Episodes:
    """Episodes in which the challenger gains these returns over the champion's -100."""
    return {
        "champion": with_returns([-100.0] * len(gains)),
        "challenger": with_returns([gain - 100 for gain in gains]),
    }


@pytest.mark.parametrize(
    ("rule", "gains", "decision"),
    [
        (BETTER, [1.0] * 20, "passed"),
        (BETTER, [-1.0] * 20, "failed"),
        (BETTER, [0.0] * 200, "undecided"),
        (BETTER, [1.0] * 5, "undecided"),
        # The size of a difference does not matter: one lucky episode makes no champion.
        (BETTER, [1e9, *[-0.1] * 30], "failed"),
        (NOT_WORSE, [0.0] * 200, "passed"),
        (NOT_WORSE, [-1.0] * 20, "failed"),
    ],
)
def test_decision_depends_on_net_wins(
    rule: ReturnDuel, gains: list[float], decision: Decision
) -> None:
    assert rule.decide(episodes(gains)) == decision


def test_an_equal_challenger_rarely_passes_although_every_episode_is_checked() -> None:
    passed = 0
    for gains in np.random.default_rng(0).normal(size=(150, 60)):
        looks = (BETTER.decide(episodes(list(gains[:count]))) for count in range(1, 61))
        passed += next((look for look in looks if look != "undecided"), "") == "passed"
    assert passed / 150 <= 0.025


def test_comparison_and_description_have_their_numbers() -> None:
    comparison = BETTER.compare(episodes([3.0] * 30 + [-1.0] * 5 + [0.0] * 5))
    assert comparison.net_wins is not None
    assert comparison.net_wins.value == pytest.approx(25 / 40)
    assert comparison.net_wins.low > 0
    assert comparison.reason.startswith("better: its return was higher in 30 and lower in 5 of 40 ")
    assert comparison.reason.endswith("the environment has no success signal (info['success'])")
    assert BETTER.describe().startswith(
        "better: the environment has no success signal (info['success']), "
    )
    assert "lies above 0" in BETTER.describe() and "lies above -0.1" in NOT_WORSE.describe()
