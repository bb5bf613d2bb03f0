"""A first champion must be shown to be above a minimum success rate."""

import pytest

from qc_core.publish.gate.minimum import Minimum
from qc_core.publish.gate.rule import Decision, Episodes
from tests.qc_core.publish.gate.episodes import with_returns, with_steps


def episodes(successes: int, failures: int) -> Episodes:
    return {"challenger": with_steps([60] * successes + [200] * failures)}


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
def test_decision_needs_the_complete_interval_on_one_side(
    minimum: float, successes: int, failures: int, decision: Decision
) -> None:
    assert Minimum(minimum).decide(episodes(successes, failures)) == decision


def test_the_reason_has_the_rate_and_the_minimum() -> None:
    assert "above 50%" in Minimum(0.5).describe()
    assert Minimum(0.5).compare(episodes(20, 0)).reason.startswith("success 100% (")
    assert Minimum(0.5).compare(episodes(20, 0)).reason.endswith("is above the minimum of 50%")
    assert "is below the minimum" in Minimum(0.5).compare(episodes(0, 20)).reason
    assert "is not shown to be above" in Minimum(0.5).compare(episodes(12, 8)).reason


def test_without_success_signal_it_fails_and_says_what_to_do() -> None:
    played = {"challenger": with_returns([-900.0] * 20)}
    assert Minimum(0.5).decide(played) == "failed"
    reason = Minimum(0.5).compare(played).reason
    assert reason.startswith("the environment has no success signal (info['success'])")
    assert reason.endswith("set --publish.minimum-success 0")
