"""A match ends with the first pair of episodes that decides the rule."""

import pytest

from qc_core.envs.play import LoadPolicy
from qc_core.publish.gate import match
from qc_core.publish.gate.challenge import player_results
from qc_core.publish.gate.duel import Duel
from qc_core.publish.gate.match import match_seeds, play_match
from qc_core.publish.gate.returns import ReturnDuel
from qc_core.runtime.executor import ChunkFunction
from tests.qc_core.publish.gate.episodes import LIMIT, with_returns, with_steps

RULE = Duel(LIMIT, 0.0, 40)
NAMES = ("champion", "challenger")


def fail() -> ChunkFunction:
    raise AssertionError("the test provides the episodes, so no policy is loaded")


def test_no_pair_is_played_after_the_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    champion, challenger, ended = with_steps([100, LIMIT] * 20), with_steps([60] * 40), []

    def play(*_: object, **__: object):
        try:
            for pair in zip(champion, challenger, strict=True):
                yield dict(zip(NAMES, pair, strict=True))
        finally:
            ended.append(True)

    monkeypatch.setattr(match, "play_side_by_side", play)
    policies: dict[str, LoadPolicy] = {name: fail for name in NAMES}
    finished = play_match(RULE, "robot/small", LIMIT, policies, range(40), workers=1)
    count = len(finished.episodes["champion"])
    assert finished.decision == "passed" and 5 < count < 40 and ended
    before = {"champion": champion[: count - 1], "challenger": challenger[: count - 1]}
    assert RULE.decide(before) == "undecided"
    assert finished.episodes["challenger"] == challenger[:count]
    assert len(finished.seeds) == 40


@pytest.mark.parametrize("reports_success", [True, False])
def test_another_rule_decides_without_a_success_signal(
    monkeypatch: pytest.MonkeyPatch, reports_success: bool
) -> None:
    episodes = (with_returns([-900.0] * 40), with_returns([-300.0] * 40))
    if reports_success:
        episodes = (with_steps([100] * 40), with_steps([60] * 40))
    pairs = [dict(zip(NAMES, pair, strict=True)) for pair in zip(*episodes, strict=True)]
    monkeypatch.setattr(match, "play_side_by_side", lambda *_, **__: (pair for pair in pairs))
    finished = play_match(
        RULE,
        "robot/small",
        LIMIT,
        dict.fromkeys(NAMES, fail),
        range(40),
        workers=1,
        rule_without_success=ReturnDuel(0.0),
    )
    assert (finished.decision, finished.reports_success) == ("passed", reports_success)
    assert finished.rule == (RULE if reports_success else ReturnDuel(0.0)).describe()
    results = player_results(finished.episodes, LIMIT)
    assert results["champion"].mean_return == (-100 if reports_success else -900)


def test_each_pairing_has_its_own_seeds() -> None:
    drawn = [match_seeds(f"cube:{version} champion", 200) for version in range(50)]
    assert len({seed for seeds in drawn for seed in seeds}) == 50 * 200
    assert drawn[0] == match_seeds("cube:0 champion", 200)
