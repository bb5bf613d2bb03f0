"""The report shows the numbers and the rule of the gate's decision."""

import re
from typing import Any

import pytest
from msgspec import to_builtins

from qc_core.documents import convert
from qc_core.publish.gate.challenge import player_results
from qc_core.publish.gate.duel import Duel
from qc_core.publish.promotion import Promotion
from qc_core.report.page import templates
from tests.qc_core.publish.gate.episodes import with_steps

WITHOUT_MATCH = {
    "champion-before": None,
    "decision": "passed",
    "reason": "no minimum success rate is set",
    "rule": "none",
    "episodes": 0,
    "max-episodes": 0,
    "results": {},
}


def render(gate: dict[str, Any], became: str) -> str:
    """Return the text of the section without its markup."""
    content = {
        "schema-version": 3,
        "name": "cube",
        "version": "v2",
        "store": "a folder",
        "champion": True,
        "became": became,
        "gate": {"schema-version": 2, "champion": True, **gate},
    }
    promotion = convert(content, Promotion, "promotion")
    page = templates().get_template("publication.html.j2").render(promotion=promotion)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


@pytest.mark.parametrize(("challenger", "gained"), [(60, "+"), (140, "-")])
def test_a_match_shows_both_policies_and_their_difference(challenger: int, gained: str) -> None:
    rule = Duel(limit=200, margin=0.0, max_episodes=30)
    episodes = {
        "champion": with_steps([100] * 29 + [200]),
        "challenger": with_steps([challenger] * 30),
    }
    compared = rule.compare(episodes)
    saved = compared.steps_saved
    assert saved is not None
    gate = {
        "reason": compared.reason,
        "decision": rule.decide(episodes),
        "steps-saved": to_builtins(saved),
        "success-gain": to_builtins(compared.success_gain),
        "rule": rule.describe(),
        "champion-before": "v1",
        "first-seed": 77,
        "episodes": 30,
        "max-episodes": 200,
        "results": to_builtins(player_results(episodes, 200)),
    }
    text = render(gate, "the new champion")
    assert text.startswith(f"cube:v2 is the new champion: {compared.reason}.")
    assert "champion (v1) 97% " in text and "challenger 100% " in text
    assert f"{saved.value:.1f} {saved.low:.1f} – {saved.high:.1f}" in text
    assert ("-" in f"{saved.value}") == (gained == "-")
    assert "30 of at most 200 new episodes, from seed 77, the same for both" in text
    assert f"Rule: {rule.describe()}." in text


def test_a_first_champion_without_a_minimum_has_no_table() -> None:
    text = render(WITHOUT_MATCH, "the first champion")
    assert text == "cube:v2 is the first champion: no minimum success rate is set. Rule: none."
