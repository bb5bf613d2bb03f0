"""Every policy becomes a version; champion only by beating the champion."""

from dataclasses import replace
from pathlib import Path

import pytest

from qc_core.envs.play import Outcome
from qc_core.recipes.config import Config
from qc_core.store import promote as promotion
from qc_core.store.open import open_store
from qc_core.store.promote import promote
from qc_core.store.registry import Registry


def outcomes(steps: list[int]) -> list[Outcome]:
    return [Outcome(seed, count < 200, count, -count) for seed, count in enumerate(steps)]


@pytest.fixture
def duel(monkeypatch: pytest.MonkeyPatch):
    """Let both policies play given games, since untrained ones would all run out of time."""

    def arrange(champion: list[int], challenger: list[int]) -> None:
        games = {"champion": outcomes(champion), "challenger": outcomes(challenger)}
        monkeypatch.setattr(promotion, "play_episodes", lambda *_, **__: games)

    return arrange


def aliases() -> dict[str, str | None]:
    registry = Registry(open_store())
    return {alias: registry.alias("smoke", alias) for alias in ("latest", "champion")}


def test_the_first_policy_becomes_champion(config: Config, policy: Path) -> None:
    content = promote(config, policy, open_store())
    assert content["champion"] and content["champion-before"] is None
    assert aliases() == {"latest": content["version"], "champion": content["version"]}


def test_a_faster_challenger_becomes_champion(
    config: Config, policy: Path, checkpoint: Path, tmp_path: Path, duel
) -> None:
    first = promote(config, policy, open_store())
    duel([90, 80, 200, 85], [60, 62, 70, 58])
    second = promote(config, other_policy(checkpoint, tmp_path), open_store())
    assert second["champion"] and second["champion-before"] == first["version"]
    assert second["steps-saved"]["value"] == pytest.approx((30 + 18 + 130 + 27) / 4)
    assert aliases() == {"latest": second["version"], "champion": second["version"]}


@pytest.mark.parametrize("challenger", [[120, 130, 200, 110], [90, 80, 200, 85], [80, 90, 200, 85]])
def test_a_worse_or_equal_challenger_is_published_and_left_there(
    config: Config, policy: Path, checkpoint: Path, tmp_path: Path, duel, challenger: list[int]
) -> None:
    first = promote(config, policy, open_store())
    duel([90, 80, 200, 85], challenger)
    second = promote(config, other_policy(checkpoint, tmp_path), open_store())
    assert not second["champion"]
    assert aliases() == {"latest": second["version"], "champion": first["version"]}


def test_a_real_duel_is_played_with_the_published_files(config: Config, policy: Path) -> None:
    one_game = replace(config, publish=replace(config.publish, gate_episodes=1))
    promote(one_game, policy, open_store())
    again = promote(one_game, policy, open_store())
    assert not again["champion"]
    assert again["champion-result"] == again["challenger-result"]


def other_policy(checkpoint: Path, tmp_path: Path) -> Path:
    """A policy folder with other bytes, so that its version is another."""
    from qc_core.export.export import export

    folder = tmp_path / "other"
    export(checkpoint, folder)
    (folder / "model-card.md").write_text("another")
    from qc_core.runtime.folder import write_checksums

    write_checksums(folder)
    return folder
