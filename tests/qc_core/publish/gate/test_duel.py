"""A challenger passes if it is better, or not worse; error rates are as documented."""

from functools import cache

import numpy as np
import pytest

from qc_core.publish.gate.duel import Duel
from qc_core.publish.gate.rule import Decision, Episodes
from tests.qc_core.publish.gate.episodes import LIMIT, with_steps

MATCHES, MAX_EPISODES = 150, 60
BETTER, NOT_WORSE = Duel(LIMIT, 0.0, MAX_EPISODES), Duel(LIMIT, 0.05, MAX_EPISODES)


def episodes(champion: list[int], challenger: list[int]) -> Episodes:
    return {"champion": with_steps(champion), "challenger": with_steps(challenger)}


@pytest.mark.parametrize(
    ("rule", "champion", "challenger", "decision"),
    [
        (BETTER, [100], [50], "passed"),
        (BETTER, [50], [100], "failed"),
        (BETTER, [80], [80], "undecided"),
        (BETTER, [200], [200], "undecided"),
        (BETTER, [200, 60], [60, 60], "passed"),
        (BETTER, [60, 60], [200, 60], "failed"),
        (NOT_WORSE, [80], [80], "passed"),
        (NOT_WORSE, [80], [100], "failed"),
        (NOT_WORSE, [80], [90], "undecided"),
    ],
)
def test_clear_differences_are_decided(
    rule: Duel, champion: list[int], challenger: list[int], decision: Decision
) -> None:
    rounds = 200 // len(champion)
    assert rule.decide(episodes(champion * rounds, challenger * rounds)) == decision


def test_five_episodes_decide_nothing() -> None:
    assert BETTER.decide(episodes([100] * 5, [50] * 5)) == "undecided"


@pytest.mark.parametrize(("rule", "allowed"), [(BETTER, 0), (NOT_WORSE, 5)])
def test_speed_does_not_compensate_for_failures_beyond_the_margin(rule: Duel, allowed: int) -> None:
    """20 steps against 180, in 100 episodes of which the challenger fails in a few."""
    for failures, decision in ((allowed, "passed"), (allowed + 1, "undecided")):
        tried = [200] * failures + [20] * (100 - failures)
        assert rule.decide(episodes([180] * 100, tried)) == decision
    comparison = rule.compare(episodes([180] * 100, [200] * (allowed + 1) + [20] * (99 - allowed)))
    assert comparison.steps_saved is not None and comparison.steps_saved.low > 0
    assert comparison.reason.startswith("succeeded less often: ")


def test_decision_agrees_with_the_reported_interval() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(30):
        length, faster = rng.integers(5, 2 * MAX_EPISODES), rng.integers(-40, 40)
        held = rng.integers(60, 140, length)
        played = episodes(list(held), list(np.clip(held - faster, 20, 199)))
        interval = BETTER.compare(played).steps_saved
        assert interval is not None
        decision = BETTER.decide(played)
        # Both always succeed, which only a complete match shows.
        complete = length >= BETTER.max_episodes
        assert (decision == "passed") == (interval.low > 0 and complete)
        assert (decision == "failed") == (interval.high < 0)
        seen.add(decision)
    assert seen == {"passed", "failed", "undecided"}


def test_comparison_has_the_numbers_of_the_episodes() -> None:
    comparison = BETTER.compare(episodes([100, 200], [60, 70]))
    assert comparison.steps_saved is not None and comparison.success_gain is not None
    assert comparison.steps_saved.value == (40 + 130) / 2
    assert comparison.success_gain.value == 0.5
    assert "85.0 steps saved per episode" in comparison.reason
    assert "success 50% → 100%" in comparison.reason


def test_description_has_the_numbers_of_the_rule() -> None:
    assert (
        BETTER.describe().startswith("better: ")
        and "limit of 200, lies above 0," in BETTER.describe()
    )
    assert NOT_WORSE.describe().startswith("not worse: ")
    assert "lies above -10," in NOT_WORSE.describe() and "at most 5.0% " in NOT_WORSE.describe()


# (success rate, mean steps of a success) of a policy.
STRONG, FAST, WEAK, COIN = (0.95, 70), (0.97, 40), (0.5, 70), (0.5, 70)
# Saves 6 steps in each success but fails more often, so it saves none on average. Most of its
# matches look good until the first failure.
LUCKY = (0.95 - 6 / 136, 64)


@cache
def matches(
    rule: Duel, champion: tuple[float, int], challenger: tuple[float, int]
) -> tuple[float, float, float]:
    """Return the share that passed, the share that failed, and the mean number of episodes."""
    rng = np.random.default_rng(0)
    decisions, lengths = [], []
    for _ in range(MATCHES):
        held, tried = (
            with_steps(
                np.where(
                    rng.random(MAX_EPISODES) < rate,
                    rng.integers(mean - 20, mean + 21, MAX_EPISODES),
                    LIMIT,
                ).tolist()
            )
            for rate, mean in (champion, challenger)
        )
        decision, length = "undecided", 0
        while decision == "undecided" and length < MAX_EPISODES:
            length += 1
            decision = rule.decide({"champion": held[:length], "challenger": tried[:length]})
        decisions.append(decision)
        lengths.append(length)
    return (
        decisions.count("passed") / MATCHES,
        decisions.count("failed") / MATCHES,
        float(np.mean(lengths)),
    )


@pytest.mark.parametrize(
    ("rule", "champion", "challenger"),
    [
        (BETTER, COIN, COIN),
        (BETTER, STRONG, LUCKY),
        (NOT_WORSE, (0.95, 70), (0.95, 81)),
    ],
)
def test_an_equal_challenger_rarely_passes_although_every_episode_is_checked(
    rule: Duel, champion: tuple[float, int], challenger: tuple[float, int]
) -> None:
    passed, _, _ = matches(rule, champion, challenger)
    assert passed <= 0.025


def test_large_differences_are_found_early() -> None:
    for champion, challenger, side in ((WEAK, STRONG, 0), (STRONG, WEAK, 1)):
        *shares, length = matches(BETTER, champion, challenger)
        assert shares[side] >= 0.8 and shares[1 - side] == 0
        assert length < 0.8 * MAX_EPISODES


def test_a_challenger_that_is_only_faster_usually_passes() -> None:
    passed, failed, _ = matches(BETTER, STRONG, FAST)
    assert passed >= 0.6 and failed == 0


def test_a_fast_challenger_with_more_failures_rarely_passes_early() -> None:
    """A single check after a complete match sees 90% success as no worse than 95% in 20%."""
    passed, _, _ = matches(BETTER, (0.95, 150), (0.9, 80))
    assert passed <= 0.3
