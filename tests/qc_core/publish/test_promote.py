"""Every policy becomes a version; champion only by passing the gate."""

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from qc_core import documents
from qc_core.config.settings import Config
from qc_core.errors import UsageError
from qc_core.export.export import export
from qc_core.policy_format.policy_folder import write_checksums
from qc_core.publish import promote as promotion
from qc_core.publish.gate import match
from qc_core.publish.promote import promote
from qc_core.registry.registry import Registry
from qc_core.registry.removal import prune
from qc_core.seeds import seeds_for
from qc_core.store.open import open_store
from tests.qc_core.publish.gate.games import outcomes
from tests.qc_core.registry.test_signing import write_keys


@pytest.fixture
def duel(monkeypatch: pytest.MonkeyPatch):
    """Let policies play given games, since untrained ones would all run out of time.

    Returns:
        Takes the steps of each policy's games, 200 for a failure, which are played again and
        again; gives a list that comes to hold the seeds of every match.
    """

    def arrange(**steps: list[int]) -> list[list[int]]:
        matches: list[list[int]] = []

        def play(_: str, policies: Mapping[str, object], seeds: list[int], *, workers: int):
            assert set(policies) == set(steps)
            played = matches.append([]) or matches[-1]
            for index, seed in enumerate(seeds):
                played.append(seed)
                yield {
                    name: outcomes([counts[index % len(counts)]])[0]
                    for name, counts in steps.items()
                }

        monkeypatch.setattr(match, "play_side_by_side", play)
        return matches

    return arrange


@pytest.fixture
def strict(config: Config) -> Config:
    """With a minimum, and enough episodes to show something."""
    return publishing(config, minimum_success=0.5, gate_episodes=100)


def publishing(config: Config, **changes: object) -> Config:
    return replace(config, publish=replace(config.publish, **changes))


def aliases() -> dict[str, str | None]:
    registry = Registry(open_store())
    return {alias: registry.alias("smoke", alias) for alias in ("latest", "champion")}


def record_of(version: str) -> dict[str, Any]:
    record = Registry(open_store()).details(f"smoke:{version}").gate
    assert record is not None
    return documents.to_json(record)


def test_without_a_minimum_the_first_policy_becomes_champion_and_plays_nothing(
    config: Config, policy: Path, duel
) -> None:
    matches = duel()
    content = promote(config, policy, open_store())
    assert content["champion"] and content["gate"]["champion-before"] is None
    assert aliases() == {"latest": content["version"], "champion": content["version"]}
    assert matches == [] and record_of(content["version"])["episodes"] == 0


def test_a_first_policy_above_the_minimum_becomes_champion(
    strict: Config, policy: Path, duel
) -> None:
    duel(challenger=[90, 80, 200, 85, 70])
    content = promote(strict, policy, open_store())
    assert aliases() == {"latest": content["version"], "champion": content["version"]}
    assert content["gate"]["decision"] == "passed" and content["gate"]["episodes"] < 100


@pytest.mark.parametrize(
    ("steps", "decision", "episodes"),
    [([200], "failed", range(5, 20)), ([90, 200], "undecided", [100])],
)
def test_a_first_policy_below_the_minimum_stays_a_version_and_says_so(
    strict: Config,
    policy: Path,
    duel,
    capsys: pytest.CaptureFixture[str],
    steps: list[int],
    decision: str,
    episodes: range,
) -> None:
    duel(challenger=steps)
    content = promote(strict, policy, open_store())
    assert not content["champion"]
    assert aliases() == {"latest": content["version"], "champion": None}
    record = record_of(content["version"])
    assert record["decision"] == decision and record["episodes"] in episodes
    told = capsys.readouterr().err
    assert "is latest, and there is no champion: success " in told and "minimum of 50%" in told


def test_a_faster_challenger_becomes_champion_as_soon_as_that_is_clear(
    config: Config, strict: Config, policy: Path, duel
) -> None:
    first = promote(config, policy, open_store())
    duel(champion=[90, 80, 200, 85], challenger=[60, 62, 70, 58])
    second = promote(strict, policy, open_store())
    assert second["champion"] and second["gate"]["champion-before"] == first["version"]
    assert 8 < second["gate"]["episodes"] < 100
    assert second["gate"]["steps-saved"]["low"] > 0
    assert second["gate"]["results"]["challenger"]["success"]["value"] == 1
    assert aliases() == {"latest": second["version"], "champion": second["version"]}
    assert record_of(second["version"]) == second["gate"]


@pytest.mark.parametrize(
    ("challenger", "decision"),
    [([160, 190, 200, 170], "failed"), ([90, 80, 200, 85], "undecided")],
)
def test_a_worse_or_equal_challenger_is_published_and_left_there(
    config: Config, strict: Config, policy: Path, duel, challenger: list[int], decision: str
) -> None:
    first = promote(config, policy, open_store())
    duel(champion=[90, 80, 200, 85], challenger=challenger)
    second = promote(strict, policy, open_store())
    assert not second["champion"]
    assert aliases() == {"latest": second["version"], "champion": first["version"]}
    record = record_of(second["version"])
    assert (record["champion"], record["decision"]) == (False, decision)
    assert (record["episodes"] == 100) == (decision == "undecided")


def test_an_equal_challenger_becomes_champion_where_not_worse_is_enough(
    config: Config, policy: Path, duel
) -> None:
    promote(config, policy, open_store())
    duel(champion=[90, 80, 100, 85], challenger=[90, 80, 100, 85])
    lenient = publishing(config, gate="not-worse", margin=0.1, gate_episodes=100)
    content = promote(lenient, policy, open_store())
    assert content["champion"] and content["gate"]["rule"].startswith("not worse: ")


def test_no_two_duels_play_the_same_seeds_also_when_versions_are_gone(
    config: Config, strict: Config, policy: Path, duel
) -> None:
    promote(config, policy, open_store())
    matches = duel(champion=[90, 80], challenger=[90, 80])
    for _ in range(3):
        promote(strict, policy, open_store())
        # Keeps the champion and the latest: the number of versions is the same again.
        prune(open_store(), "smoke", keep=1)
    assert [len(seeds) for seeds in matches] == [100] * 3
    assert len({seed for seeds in matches for seed in seeds}) == 300
    evaluated = seeds_for("evaluate", config.seed, 1000)
    assert not {seed for seeds in matches for seed in seeds} & set(evaluated)


def test_the_champion_of_another_environment_is_no_match(
    config: Config, policy: Path, tmp_path: Path
) -> None:
    promote(config, policy, open_store())
    other = moved(policy, tmp_path / "other", "cube-double-singletask-v0")
    with pytest.raises(UsageError, match=r"smoke:\S+ is published, but not compared: the champion"):
        promote(config, other, open_store())
    assert len(Registry(open_store()).versions("smoke")) == 2


def test_what_cannot_be_played_here_is_published_all_the_same(
    strict: Config, policy: Path, tmp_path: Path
) -> None:
    robot = moved(policy, tmp_path / "robot", "robot/arm")
    with pytest.raises(UsageError, match="is published, but not compared: robot/arm has no sim"):
        promote(strict, robot, open_store())
    assert aliases()["latest"] and not aliases()["champion"]


def test_a_champion_that_another_run_has_made_meanwhile_is_the_one_to_beat(
    config: Config, strict: Config, policy: Path, duel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = promote(config, policy, open_store())["version"]
    matches = duel(champion=[90, 80], challenger=[50, 60])
    registry, faced = Registry(open_store()), []

    def face(self: Registry, reference: str, output: Path):
        faced.append(reference)
        if len(faced) == 1:
            registry.set_alias("smoke", "champion", registry.publish(policy, "smoke"))
        return registry.pull(reference, output)

    monkeypatch.setattr(promotion, "Registry", type("Meddled", (Registry,), {"pull": face}))
    content = promote(strict, policy, open_store())
    before = content["gate"]["champion-before"]
    assert faced == [f"smoke:{first}", f"smoke:{before}"] and before != first
    # The other opponent is met on other seeds.
    assert not set(matches[0]) & set(matches[1])
    assert registry.alias("smoke", "champion") == content["version"]
    assert registry.roll_back("smoke", "champion") == (content["version"], before)


@pytest.mark.parametrize("broken_off", ["publish", "set_alias", "replace_alias", "record", None])
def test_begun_again_by_the_same_run_it_goes_on_where_it_broke_off(
    config: Config,
    strict: Config,
    policy: Path,
    duel,
    monkeypatch: pytest.MonkeyPatch,
    broken_off: str | None,
) -> None:
    first = promote(config, policy, open_store(), run="run-1")["version"]
    matches = duel(champion=[90, 80], challenger=[50, 60])
    with monkeypatch.context() as broken, contextlib.suppress(KeyboardInterrupt):
        if broken_off == "record":
            broken.setattr(promotion.gate_record, "write_gate_record", die)
        elif broken_off:
            done = getattr(Registry, broken_off)
            broken.setattr(Registry, broken_off, lambda *a, **k: die(done(*a, **k)))
        promote(strict, policy, open_store(), run="run-2")
    content = promote(strict, policy, open_store(), run="run-2")
    versions = [version.version for version in Registry(open_store()).versions()]
    assert versions == [first, content["version"]]
    assert content["champion"] and content["gate"]["champion-before"] == first
    assert record_of(content["version"]) == content["gate"]
    assert aliases() == {"latest": content["version"], "champion": content["version"]}
    assert all(seeds == matches[0] for seeds in matches) and len(matches) in (1, 2)


def test_begun_again_after_a_later_run_the_latest_stays_the_later_one(
    config: Config, strict: Config, policy: Path, duel
) -> None:
    earlier = promote(config, policy, open_store(), run="run-1")
    duel(champion=[90, 80], challenger=[90, 80])
    later = promote(strict, policy, open_store(), run="run-2")["version"]
    assert promote(strict, policy, open_store(), run="run-1") == earlier
    assert aliases() == {"latest": later, "champion": earlier["version"]}


def test_a_run_that_publishes_another_policy_makes_another_version(
    config: Config, policy: Path, tmp_path: Path
) -> None:
    promote(config, policy, open_store(), run="run-1")
    other = moved(policy, tmp_path / "other", "cube-double-singletask-v0")
    with pytest.raises(UsageError, match="is published, but not compared"):
        promote(config, other, open_store(), run="run-1")
    assert len(Registry(open_store()).versions("smoke")) == 2


def test_a_run_that_comes_to_sign_or_to_keep_the_checkpoint_publishes_anew(
    config: Config,
    policy: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    duel,
) -> None:
    duel(champion=[90], challenger=[90])
    private, _ = write_keys(tmp_path / "keys", ed25519.Ed25519PrivateKey.generate())

    def promoted(checkpoint: Path | None) -> str:
        return promote(config, policy, open_store(), run="run-1", checkpoint=checkpoint)["version"]

    versions = [promoted(None), promoted(checkpoint)]
    monkeypatch.setenv("QC_SIGNING_KEY", str(private))
    versions += [promoted(checkpoint), promoted(None), promoted(checkpoint)]
    assert versions[4] == versions[2] and len(set(versions)) == 4
    told = [Registry(open_store()).details(f"smoke:{version}") for version in versions]
    assert [said.signed for said in told] == [False, False, True, True, True]
    assert [said.manifest.checkpoint for said in told] == [False, True, True, False, True]


def test_a_version_knows_its_run_and_is_signed_where_a_key_is_named(
    config: Config, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, duel
) -> None:
    private, public = write_keys(tmp_path / "keys", ed25519.Ed25519PrivateKey.generate())
    monkeypatch.setenv("QC_SIGNING_KEY", str(private))
    promote(config, policy, open_store(), run="run-7")
    monkeypatch.setenv("QC_RUN_ID", "20261125-mine")
    duel(champion=[90], challenger=[90])
    promote(config, policy, open_store(), run="run-8")
    registry = Registry(open_store())
    assert [version.run_id for version in registry.versions()] == ["run-7", "20261125-mine"]
    registry.pull("smoke@latest", tmp_path / "pulled", verify_key=public)


def test_a_key_that_cannot_be_used_publishes_nothing(
    config: Config, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QC_SIGNING_KEY", str(tmp_path / "none.pem"))
    with pytest.raises(UsageError, match=r"none\.pem cannot be read"):
        promote(config, policy, open_store())
    assert Registry(open_store()).versions() == []


def test_a_real_duel_is_played_with_the_published_files(config: Config, policy: Path) -> None:
    one_game = publishing(config, gate_episodes=1)
    promote(one_game, policy, open_store())
    again = promote(one_game, policy, open_store())
    assert not again["champion"]
    results = again["gate"]["results"]
    assert results["champion"] == results["challenger"]
    assert results["champion"]["outcomes"][0]["seed"] == again["gate"]["first-seed"]


def test_where_no_success_is_told_the_gate_compares_returns_and_says_so(
    pendulum_config: Config,
    pendulum_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    export(pendulum_checkpoint, tmp_path / "policy")
    asking = publishing(pendulum_config, minimum_success=0.5, gate_episodes=20)
    first = promote(asking, tmp_path / "policy", open_store())
    assert not first["champion"] and first["gate"]["episodes"] < 20
    assert "--publish.minimum-success 0 asks for nothing" in capsys.readouterr().err
    config = publishing(asking, minimum_success=0.0)
    held = promote(config, tmp_path / "policy", open_store())
    again = promote(config, tmp_path / "policy", open_store())
    assert held["champion"] and not again["champion"]
    told = capsys.readouterr().err
    assert "higher in 0 and lower in 0 of 20 episodes" in told
    assert "the environment tells no success (info['success'])" in told
    assert again["gate"]["net-wins"]["value"] == 0
    assert again["gate"]["rule"].startswith("better: the environment tells no success")
    results = again["gate"]["results"]
    assert results["champion"]["mean-return"] == results["challenger"]["mean-return"] < 0


def die(*_: object) -> None:
    """Something like the end of a pod."""
    raise KeyboardInterrupt


def moved(policy: Path, folder: Path, environment: str) -> Path:
    """The policy, for another environment."""
    shutil.copytree(policy, folder)
    contract = json.loads((folder / "policy.json").read_text())
    (folder / "policy.json").write_text(json.dumps({**contract, "environment": environment}))
    write_checksums(folder)
    return folder
