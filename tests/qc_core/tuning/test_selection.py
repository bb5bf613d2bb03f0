"""The offline policy is published unless a trial is better than it beyond chance."""

import numpy as np
import pytest

from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.tuning.selection import Selection, decide

LIMIT = 200


def episodes(steps: list[int]) -> list[EpisodeResult]:
    """Return an episode per number of steps; at the limit it is a failure."""
    return [EpisodeResult(seed, n < LIMIT, n, -float(n)) for seed, n in enumerate(steps)]


def returns(values: list[float]) -> list[EpisodeResult]:
    return [EpisodeResult(seed, False, LIMIT, v, False) for seed, v in enumerate(values)]


def choice(selection: Selection) -> tuple[int, bool]:
    return selection.best_trial, selection.helped


def test_a_trial_that_solves_more_episodes_is_published() -> None:
    offline = episodes([100] * 12 + [LIMIT] * 8)
    same, better = episodes([100] * 11 + [LIMIT] * 9), episodes([100] * 19 + [LIMIT])
    selection = decide(offline, {0: same, 3: better}, LIMIT)
    assert choice(selection) == (3, True)
    assert [candidate.trial for candidate in selection.candidates] == [None, 0, 3]
    best = selection.candidates[2]
    # 7 gains in one direction: one of 2^7 sign patterns, times two trials.
    assert best.p_value == pytest.approx(2 / 2**7)
    assert best.gain is not None and best.gain.value == pytest.approx(7 * 100 / 20)
    assert selection.evidence == "p = 0.016, 2 trials, 20 selection episodes"


def test_a_gain_that_chance_explains_keeps_the_offline_policy() -> None:
    offline = episodes([100] * 16 + [LIMIT] * 4)
    lucky = episodes([100] * 19 + [LIMIT])
    selection = decide(offline, {0: lucky}, LIMIT)
    assert choice(selection) == (0, False)
    assert selection.candidates[1].success.value > selection.candidates[0].success.value


def test_the_same_gain_counts_less_among_more_trials() -> None:
    offline, better = episodes([LIMIT] * 20), episodes([100] * 6 + [LIMIT] * 14)
    assert decide(offline, {0: better}, LIMIT).helped
    others = {number: offline for number in range(1, 8)}
    assert not decide(offline, {0: better, **others}, LIMIT).helped


def test_trials_that_lost_earlier_count_when_the_study_gets_more_trials() -> None:
    offline, better = episodes([LIMIT] * 20), episodes([100] * 6 + [LIMIT] * 14)
    earlier = decide(offline, {number: offline for number in range(7)}, LIMIT)
    trials = {earlier.best_trial: offline, 7: better}
    assert choice(decide(offline, trials, LIMIT)) == (7, True)
    together = decide(offline, trials, LIMIT, earlier)
    assert choice(together) == (7, False)
    assert [candidate.trial for candidate in together.candidates] == [None, *range(8)]


def test_a_faster_trial_is_published_unless_it_succeeds_less_often() -> None:
    offline = episodes([150] * 20)
    assert choice(decide(offline, {0: episodes([90] * 20)}, LIMIT)) == (0, True)
    assert choice(decide(offline, {0: episodes([90] * 19 + [LIMIT])}, LIMIT)) == (0, False)


def test_of_two_trials_that_help_success_decides_before_speed() -> None:
    offline = episodes([150] * 10 + [LIMIT] * 10)
    fast, sure = episodes([60] * 17 + [LIMIT] * 3), episodes([140] * 20)
    assert choice(decide(offline, {0: fast, 1: sure}, LIMIT)) == (1, True)


def test_without_a_success_signal_returns_are_compared() -> None:
    offline = returns([-100.0] * 10)
    higher = returns(list(-100.0 + np.arange(1, 11)))
    selection = decide(offline, {0: returns([-120.0] * 10), 1: higher}, LIMIT)
    assert choice(selection) == (1, True) and not selection.reports_success
    gain = selection.candidates[2].gain
    assert gain is not None and gain.value == pytest.approx(5.5)
