"""A first champion is shown to be above a minimum, or stays a version."""

import pytest

from qc_core.publish.gate.minimum import Minimum
from qc_core.publish.gate.rule import Decision, Games
from tests.qc_core.publish.gate.games import outcomes, untold


def games(successes: int, failures: int) -> Games:
    return {"challenger": outcomes([60] * successes + [200] * failures)}


@pytest.mark.parametrize(
    ("minimum", "successes", "failures", "decision"),
    [
        (0.5, 20, 0, "passed"),
        (0.5, 38, 2, "passed"),
        (0.5, 0, 20, "failed"),
        (0.5, 3, 0, "undecided"),
        # More than the minimum, but that may be luck.
        (0.5, 12, 8, "undecided"),
        (0.1, 12, 8, "passed"),
        (0.9, 12, 8, "failed"),
    ],
)
def test_the_whole_interval_counts(
    minimum: float, successes: int, failures: int, decision: Decision
) -> None:
    assert Minimum(minimum).decide(games(successes, failures)) == decision


def test_it_says_the_rate_and_the_minimum() -> None:
    assert "above 50%" in Minimum(0.5).text
    assert Minimum(0.5).figures(games(20, 0))["reason"].startswith("success 100% (")
    assert Minimum(0.5).figures(games(20, 0))["reason"].endswith("is above the minimum of 50%")
    assert "is below the minimum" in Minimum(0.5).figures(games(0, 20))["reason"]
    assert "is not shown to be above" in Minimum(0.5).figures(games(12, 8))["reason"]


def test_where_no_success_is_told_it_is_not_reached_and_says_what_to_do() -> None:
    played = {"challenger": untold([-900.0] * 20)}
    assert Minimum(0.5).decide(played) == "failed"
    reason = Minimum(0.5).figures(played)["reason"]
    assert reason.startswith("the environment tells no success (info['success'])")
    assert reason.endswith("--publish.minimum-success 0 asks for nothing")
