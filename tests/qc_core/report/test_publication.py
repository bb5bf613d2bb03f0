"""The report's account of the gate has its numbers and its rule."""

import re

import pytest

from qc_core.publish.gate.duel import Duel
from qc_core.publish.gate.rule import result_of
from qc_core.report.html import templates
from tests.qc_core.publish.gate.games import outcomes

NOTHING_PLAYED = {"reason": "no minimum was asked of it", "rule": "none", "results": {}}


def words(gate: dict, became: str) -> str:
    page = (
        templates()
        .get_template("publication.html.j2")
        .render(promotion={"name": "cube", "version": "v2", "became": became, "gate": gate})
    )
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


@pytest.mark.parametrize(("challenger", "gained"), [(60, "+"), (140, "-")])
def test_a_duel_shows_both_policies_and_what_was_gained(challenger: int, gained: str) -> None:
    rule = Duel(limit=200, margin=0.0, episodes=30)
    games = {"champion": outcomes([100] * 29 + [200]), "challenger": outcomes([challenger] * 30)}
    told = rule.figures(games)
    gate = {
        **told,
        "rule": rule.text,
        "champion-before": "v1",
        "first-seed": 77,
        "episodes": 30,
        "episodes-at-most": 200,
        "results": {name: result_of(played, 200) for name, played in games.items()},
    }
    text = words(gate, "the new champion")
    assert text.startswith(f"cube:v2 is the new champion: {told['reason']}.")
    assert "champion (v1) 97% " in text and "challenger 100% " in text
    saved = told["steps-saved"]
    assert f"{saved['value']:.1f} {saved['low']:.1f} – {saved['high']:.1f}" in text
    assert ("-" in f"{saved['value']}") == (gained == "-")
    assert "30 of at most 200 fresh episodes, from seed 77, the same for both" in text
    assert f"The rule: {rule.text}." in text


def test_a_first_champion_without_a_minimum_has_no_table() -> None:
    text = words(NOTHING_PLAYED, "the first champion")
    assert text == ("cube:v2 is the first champion: no minimum was asked of it. The rule: none.")
