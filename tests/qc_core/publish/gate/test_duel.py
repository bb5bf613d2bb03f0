"""A challenger passes when it is better or not worse, and errs as seldom as it says."""

from functools import cache

import numpy as np
import pytest

from qc_core.publish.gate.duel import Duel
from qc_core.publish.gate.rule import Decision, Games
from tests.qc_core.publish.gate.games import LIMIT, outcomes

MATCHES, AT_MOST = 150, 60
BETTER, NOT_WORSE = Duel(LIMIT, 0.0, AT_MOST), Duel(LIMIT, 0.05, AT_MOST)


def games(champion: list[int], challenger: list[int]) -> Games:
    return {"champion": outcomes(champion), "challenger": outcomes(challenger)}


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
def test_what_is_clear_is_decided(
    rule: Duel, champion: list[int], challenger: list[int], decision: Decision
) -> None:
    rounds = 200 // len(champion)
    assert rule.decide(games(champion * rounds, challenger * rounds)) == decision


def test_a_handful_of_games_decides_nothing() -> None:
    assert BETTER.decide(games([100] * 5, [50] * 5)) == "undecided"


@pytest.mark.parametrize(("rule", "allowed"), [(BETTER, 0), (NOT_WORSE, 5)])
def test_no_speed_pays_for_more_failures_than_are_allowed(rule: Duel, allowed: int) -> None:
    """20 steps against 180, in 100 games of which the challenger loses a few."""
    for failures, decision in ((allowed, "passed"), (allowed + 1, "undecided")):
        tried = [200] * failures + [20] * (100 - failures)
        assert rule.decide(games([180] * 100, tried)) == decision
    shown = rule.figures(games([180] * 100, [200] * (allowed + 1) + [20] * (99 - allowed)))
    assert shown["steps-saved"]["low"] > 0
    assert shown["reason"].startswith("succeeded less often: ")


def test_the_decision_is_what_the_interval_in_the_report_says() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(30):
        length, faster = rng.integers(5, 2 * AT_MOST), rng.integers(-40, 40)
        held = rng.integers(60, 140, length)
        played = games(list(held), list(np.clip(held - faster, 20, 199)))
        interval = BETTER.figures(played)["steps-saved"]
        decision = BETTER.decide(played)
        # Both always succeed: only over a whole match is that shown.
        whole = length >= BETTER.episodes
        assert (decision == "passed") == (interval["low"] > 0 and whole)
        assert (decision == "failed") == (interval["high"] < 0)
        seen.add(decision)
    assert seen == {"passed", "failed", "undecided"}


def test_the_figures_are_the_games() -> None:
    figures = BETTER.figures(games([100, 200], [60, 70]))
    assert figures["steps-saved"]["value"] == (40 + 130) / 2
    assert figures["success-gain"]["value"] == 0.5
    assert "85.0 steps saved per episode" in figures["reason"]
    assert "success 50% → 100%" in figures["reason"]


def test_the_rule_says_its_numbers() -> None:
    assert BETTER.text.startswith("better: ") and "limit of 200, lies above 0," in BETTER.text
    assert NOT_WORSE.text.startswith("not worse: ")
    assert "lies above -10," in NOT_WORSE.text and "at most 5.0% " in NOT_WORSE.text


# (success rate, mean steps of a success) of a policy.
STRONG, FAST, WEAK, COIN = (0.95, 70), (0.97, 40), (0.5, 70), (0.5, 70)
# Saves 6 steps each time, and fails so much more often that it saves none on average: most of
# its matches look well until the first failure.
LUCKY = (0.95 - 6 / 136, 64)


@cache
def matches(
    rule: Duel, champion: tuple[float, int], challenger: tuple[float, int]
) -> tuple[float, float, float]:
    """Share that passed, share that failed, mean episodes; the rule is asked after each pair."""
    rng = np.random.default_rng(0)
    decisions, lengths = [], []
    for _ in range(MATCHES):
        held, tried = (
            outcomes(
                np.where(
                    rng.random(AT_MOST) < rate, rng.integers(mean - 20, mean + 21, AT_MOST), LIMIT
                ).tolist()
            )
            for rate, mean in (champion, challenger)
        )
        decision, length = "undecided", 0
        while decision == "undecided" and length < AT_MOST:
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
def test_who_is_no_better_passes_seldom_though_one_looks_after_every_game(
    rule: Duel, champion: tuple[float, int], challenger: tuple[float, int]
) -> None:
    passed, _, _ = matches(rule, champion, challenger)
    assert passed <= 0.025


def test_what_is_clear_is_found_and_saves_episodes() -> None:
    for champion, challenger, side in ((WEAK, STRONG, 0), (STRONG, WEAK, 1)):
        *shares, length = matches(BETTER, champion, challenger)
        assert shares[side] >= 0.8 and shares[1 - side] == 0
        assert length < 0.8 * AT_MOST


def test_who_is_only_faster_is_found_too() -> None:
    passed, failed, _ = matches(BETTER, STRONG, FAST)
    assert passed >= 0.6 and failed == 0


def test_who_is_fast_and_fails_more_does_not_pass_at_a_lucky_moment() -> None:
    """Looked at once, over all of a match, success of 90 against 95% is seen as no worse in 20%."""
    passed, _, _ = matches(BETTER, (0.95, 150), (0.9, 80))
    assert passed <= 0.3
