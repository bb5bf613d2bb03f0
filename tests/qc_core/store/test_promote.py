"""Every policy becomes a version; champion only by beating the champion."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from qc_core.envs.play import Outcome
from qc_core.errors import WrongUse
from qc_core.recipes.config import Config
from qc_core.store import promote as promotion
from qc_core.store.open import open_store
from qc_core.store.promote import promote
from qc_core.store.registry import Registry
from tests.qc_core.store.test_signing import write_keys


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


def test_a_champion_that_another_run_has_made_meanwhile_is_the_one_to_beat(
    config: Config,
    policy: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = promote(config, policy, open_store())["version"]
    registry, seen = Registry(open_store()), []

    def duel(_config: Config, _registry: Registry, _folder: Path, incumbent: str):
        seen.append(incumbent)
        if len(seen) == 1:
            registry.set_alias("smoke", "champion", registry.publish(policy, "smoke"))
        return {"steps-saved": {"value": 1.0, "low": 0.5, "high": 2.0}}

    monkeypatch.setattr(promotion, "_duel", duel)
    content = promote(config, other_policy(checkpoint, tmp_path), open_store())
    assert len(seen) == 2 and seen[0] == first
    assert content["champion-before"] == seen[1] != first
    assert registry.alias("smoke", "champion") == content["version"]
    assert registry.roll_back("smoke", "champion") == (content["version"], seen[1])


def test_a_version_knows_its_run_and_is_signed_where_a_key_is_named(
    config: Config, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = write_keys(tmp_path / "keys", ed25519.Ed25519PrivateKey.generate())
    monkeypatch.setenv("QC_SIGNING_KEY", str(private))
    promote(config, policy, open_store(), run="run-7")
    monkeypatch.setenv("QC_RUN", "20261125-mine")
    monkeypatch.setattr(promotion, "_duel", lambda *_: {"steps-saved": {"value": 0, "low": -1}})
    promote(config, policy, open_store(), run="run-8")
    registry = Registry(open_store())
    assert [version.run for version in registry.versions()] == ["run-7", "20261125-mine"]
    registry.pull("smoke@latest", tmp_path / "pulled", verify_key=public)


def test_a_key_that_cannot_be_used_publishes_nothing(
    config: Config, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QC_SIGNING_KEY", str(tmp_path / "none.pem"))
    with pytest.raises(WrongUse, match=r"none\.pem cannot be read"):
        promote(config, policy, open_store())
    assert Registry(open_store()).versions() == []


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
