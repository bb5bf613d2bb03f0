"""A match is over with the first pair of games that answers the rule."""

import pytest

from qc_core.publish.gate import match
from qc_core.publish.gate.duel import Duel
from qc_core.publish.gate.match import fresh_seeds, hold_match
from qc_core.publish.gate.returns import ReturnDuel
from qc_core.runtime.executor import ChunkFunction
from tests.qc_core.publish.gate.games import LIMIT, outcomes, untold

RULE = Duel(LIMIT, 0.0, 40)
NAMES = ("champion", "challenger")


def fail() -> ChunkFunction:
    raise AssertionError("nothing is loaded where playing is given")


def test_no_pair_is_played_after_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    held, tried, ended = outcomes([100, LIMIT] * 20), outcomes([60] * 40), []

    def play(*_: object, **__: object):
        try:
            for pair in zip(held, tried, strict=True):
                yield dict(zip(NAMES, pair, strict=True))
        finally:
            ended.append(True)

    monkeypatch.setattr(match, "play_side_by_side", play)
    told = hold_match(RULE, "robot/small", LIMIT, dict.fromkeys(NAMES, fail), range(40), workers=1)
    count = told["episodes"]
    assert told["decision"] == "passed" and 5 < count < 40 and ended
    assert (
        RULE.decide({"champion": held[: count - 1], "challenger": tried[: count - 1]})
        == "undecided"
    )
    played = told["results"]["challenger"]["outcomes"]
    assert played == [outcome.as_dict() for outcome in tried[:count]]
    assert told["episodes-at-most"] == 40


@pytest.mark.parametrize("told", [True, False])
def test_another_rule_answers_where_no_success_is_told(
    monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    held, tried = [-900.0] * 40, [-300.0] * 40
    games = (untold(held), untold(tried))
    if told:
        games = (outcomes([100] * 40), outcomes([60] * 40))
    pairs = [dict(zip(NAMES, pair, strict=True)) for pair in zip(*games, strict=True)]
    monkeypatch.setattr(match, "play_side_by_side", lambda *_, **__: (pair for pair in pairs))
    account = hold_match(
        RULE,
        "robot/small",
        LIMIT,
        dict.fromkeys(NAMES, fail),
        range(40),
        workers=1,
        untold=ReturnDuel(0.0),
    )
    assert (account["decision"], account["success-told"]) == ("passed", told)
    assert account["rule"] == (RULE if told else ReturnDuel(0.0)).text
    assert account["results"]["champion"]["mean-return"] == (-100 if told else -900)


def test_each_occasion_has_seeds_of_its_own() -> None:
    drawn = [fresh_seeds(f"cube:{version} champion", 200) for version in range(50)]
    assert len({seed for seeds in drawn for seed in seeds}) == 50 * 200
    assert drawn[0] == fresh_seeds("cube:0 champion", 200)
