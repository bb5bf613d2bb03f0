"""Every policy becomes a version, and champion only if it passes the gate."""

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from qc_core.config.settings import Config
from qc_core.errors import UsageError
from qc_core.export.export import export
from qc_core.policy_format.policy_folder import write_checksums
from qc_core.publish import promote as promote_module
from qc_core.publish.gate import match
from qc_core.publish.promote import promote
from qc_core.registry.gate_record import GateRecord, read_gate_record
from qc_core.registry.registry import Registry
from qc_core.registry.removal import prune
from qc_core.seeds import seeds_for
from qc_core.store.open import open_store
from tests.qc_core.publish.gate.episodes import with_steps
from tests.qc_core.registry.test_signing import write_keys


@pytest.fixture
def duel(monkeypatch: pytest.MonkeyPatch):
    """Replace playing by given episodes, because untrained policies always fail.

    Returns:
        A function that takes the steps of each policy's episodes (200 for a failure), which repeat,
        and returns a list to which each match adds the list of its seeds.
    """

    def arrange(**steps: list[int]) -> list[list[int]]:
        matches: list[list[int]] = []

        def play(_: str, policies: Mapping[str, object], seeds: list[int], *, workers: int):
            assert set(policies) == set(steps)
            played = matches.append([]) or matches[-1]
            for index, seed in enumerate(seeds):
                played.append(seed)
                yield {
                    name: with_steps([counts[index % len(counts)]])[0]
                    for name, counts in steps.items()
                }

        monkeypatch.setattr(match, "play_side_by_side", play)
        return matches

    return arrange


@pytest.fixture
def strict(config: Config) -> Config:
    """A configuration with a minimum, and enough episodes to decide."""
    return publishing(config, minimum_success=0.5, gate_episodes=100)


def publishing(config: Config, **changes: object) -> Config:
    return replace(config, publish=replace(config.publish, **changes))


def aliases() -> dict[str, str | None]:
    registry = Registry(open_store())
    return {alias: registry.alias("smoke", alias) for alias in ("latest", "champion")}


def record_of(version: str) -> GateRecord:
    record = read_gate_record(open_store(), "smoke", version)
    assert record is not None
    return record


def test_without_a_minimum_the_first_policy_becomes_champion_without_playing(
    config: Config, policy: Path, duel
) -> None:
    matches = duel()
    promotion = promote(config, policy, open_store())
    assert promotion.champion and promotion.gate.champion_before is None
    assert aliases() == {"latest": promotion.version, "champion": promotion.version}
    assert matches == [] and record_of(promotion.version).episodes == 0


def test_a_first_policy_above_the_minimum_becomes_champion(
    strict: Config, policy: Path, duel
) -> None:
    duel(challenger=[90, 80, 200, 85, 70])
    promotion = promote(strict, policy, open_store())
    assert aliases() == {"latest": promotion.version, "champion": promotion.version}
    assert promotion.gate.decision == "passed" and promotion.gate.episodes < 100


@pytest.mark.parametrize(
    ("steps", "decision", "episodes"),
    [([200], "failed", range(5, 20)), ([90, 200], "undecided", [100])],
)
def test_a_first_policy_below_the_minimum_is_published_but_not_champion(
    strict: Config,
    policy: Path,
    duel,
    capsys: pytest.CaptureFixture[str],
    steps: list[int],
    decision: str,
    episodes: range,
) -> None:
    duel(challenger=steps)
    promotion = promote(strict, policy, open_store())
    assert not promotion.champion
    assert aliases() == {"latest": promotion.version, "champion": None}
    record = record_of(promotion.version)
    assert record.decision == decision and record.episodes in episodes
    message = capsys.readouterr().err
    assert "is latest, and there is no champion: success " in message
    assert "minimum of 50%" in message


def test_a_faster_challenger_becomes_champion_before_the_last_episode(
    config: Config, strict: Config, policy: Path, duel
) -> None:
    first = promote(config, policy, open_store())
    duel(champion=[90, 80, 200, 85], challenger=[60, 62, 70, 58])
    second = promote(strict, policy, open_store())
    assert second.champion and second.gate.champion_before == first.version
    assert 8 < second.gate.episodes < 100
    assert second.gate.steps_saved is not None and second.gate.steps_saved.low > 0
    assert second.gate.results["challenger"].success.value == 1
    assert aliases() == {"latest": second.version, "champion": second.version}
    assert record_of(second.version) == second.gate


@pytest.mark.parametrize(
    ("challenger", "decision"),
    [([160, 190, 200, 170], "failed"), ([90, 80, 200, 85], "undecided")],
)
def test_a_worse_or_equal_challenger_is_published_but_not_champion(
    config: Config, strict: Config, policy: Path, duel, challenger: list[int], decision: str
) -> None:
    first = promote(config, policy, open_store())
    duel(champion=[90, 80, 200, 85], challenger=challenger)
    second = promote(strict, policy, open_store())
    assert not second.champion
    assert aliases() == {"latest": second.version, "champion": first.version}
    record = record_of(second.version)
    assert (record.champion, record.decision) == (False, decision)
    assert (record.episodes == 100) == (decision == "undecided")


def test_an_equal_challenger_becomes_champion_if_not_worse_is_enough(
    config: Config, policy: Path, duel
) -> None:
    promote(config, policy, open_store())
    duel(champion=[90, 80, 100, 85], challenger=[90, 80, 100, 85])
    lenient = publishing(config, gate="not-worse", margin=0.1, gate_episodes=100)
    promotion = promote(lenient, policy, open_store())
    assert promotion.champion and promotion.gate.rule.startswith("not worse: ")


def test_no_two_matches_play_the_same_seeds_even_after_pruning(
    config: Config, strict: Config, policy: Path, duel
) -> None:
    promote(config, policy, open_store())
    matches = duel(champion=[90, 80], challenger=[90, 80])
    for _ in range(3):
        promote(strict, policy, open_store())
        # Only the champion and the latest stay, so the number of versions is the same again.
        prune(open_store(), "smoke", keep=1)
    assert [len(seeds) for seeds in matches] == [100] * 3
    assert len({seed for seeds in matches for seed in seeds}) == 300
    evaluated = seeds_for("evaluate", config.seed, 1000)
    assert not {seed for seeds in matches for seed in seeds} & set(evaluated)


def test_a_champion_of_another_environment_is_refused(
    config: Config, policy: Path, tmp_path: Path
) -> None:
    promote(config, policy, open_store())
    other = moved(policy, tmp_path / "other", "cube-double-singletask-v0")
    with pytest.raises(UsageError, match=r"smoke:\S+ is published, but not compared: the champion"):
        promote(config, other, open_store())
    assert len(Registry(open_store()).versions("smoke")) == 2


def test_a_policy_that_cannot_be_played_here_is_published_anyway(
    strict: Config, policy: Path, tmp_path: Path
) -> None:
    robot = moved(policy, tmp_path / "robot", "robot/arm")
    promotion = promote(strict, robot, open_store())
    assert not promotion.champion and "there is no champion" in promotion.summary
    assert aliases()["latest"] and not aliases()["champion"]


def test_a_champion_made_by_another_run_during_the_match_is_the_next_opponent(
    config: Config, strict: Config, policy: Path, duel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = promote(config, policy, open_store()).version
    matches = duel(champion=[90, 80], challenger=[50, 60])
    registry, faced = Registry(open_store()), []

    def face(self: Registry, reference: str, output: Path):
        faced.append(reference)
        if len(faced) == 1:
            registry.set_alias("smoke", "champion", registry.publish(policy, "smoke"))
        return registry.pull(reference, output)

    monkeypatch.setattr(promote_module, "Registry", type("Concurrent", (Registry,), {"pull": face}))
    promotion = promote(strict, policy, open_store())
    before = promotion.gate.champion_before
    assert faced == [f"smoke:{first}", f"smoke:{before}"] and before != first
    # The match against the other opponent has other seeds.
    assert not set(matches[0]) & set(matches[1])
    assert registry.alias("smoke", "champion") == promotion.version
    assert registry.roll_back("smoke", "champion") == (promotion.version, before)


@pytest.mark.parametrize(
    "interrupted_after", ["publish", "set_alias", "replace_alias", "record", None]
)
def test_a_retry_of_the_same_run_continues_where_it_stopped(
    config: Config,
    strict: Config,
    policy: Path,
    duel,
    monkeypatch: pytest.MonkeyPatch,
    interrupted_after: str | None,
) -> None:
    first = promote(config, policy, open_store(), run_id="run-1").version
    matches = duel(champion=[90, 80], challenger=[50, 60])
    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        if interrupted_after == "record":
            patch.setattr(promote_module.gate_record, "write_gate_record", die)
        elif interrupted_after:
            done = getattr(Registry, interrupted_after)
            patch.setattr(Registry, interrupted_after, lambda *a, **k: die(done(*a, **k)))
        promote(strict, policy, open_store(), run_id="run-2")
    promotion = promote(strict, policy, open_store(), run_id="run-2")
    versions = [version.version for version in Registry(open_store()).versions()]
    assert versions == [first, promotion.version]
    assert promotion.champion and promotion.gate.champion_before == first
    assert record_of(promotion.version) == promotion.gate
    assert aliases() == {"latest": promotion.version, "champion": promotion.version}
    assert all(seeds == matches[0] for seeds in matches) and len(matches) in (1, 2)


def test_a_retry_does_not_move_latest_back_from_a_newer_version(
    config: Config, strict: Config, policy: Path, duel
) -> None:
    earlier = promote(config, policy, open_store(), run_id="run-1")
    duel(champion=[90, 80], challenger=[90, 80])
    later = promote(strict, policy, open_store(), run_id="run-2").version
    assert promote(strict, policy, open_store(), run_id="run-1") == earlier
    assert aliases() == {"latest": later, "champion": earlier.version}


def test_a_run_that_publishes_another_policy_makes_another_version(
    config: Config, policy: Path, tmp_path: Path
) -> None:
    promote(config, policy, open_store(), run_id="run-1")
    other = moved(policy, tmp_path / "other", "cube-double-singletask-v0")
    with pytest.raises(UsageError, match="is published, but not compared"):
        promote(config, other, open_store(), run_id="run-1")
    assert len(Registry(open_store()).versions("smoke")) == 2


def test_a_retry_that_changes_signature_or_checkpoint_publishes_again(
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
        return promote(config, policy, open_store(), run_id="run-1", checkpoint=checkpoint).version

    versions = [promoted(None), promoted(checkpoint)]
    monkeypatch.setenv("QC_SIGNING_KEY", str(private))
    versions += [promoted(checkpoint), promoted(None), promoted(checkpoint)]
    assert versions[4] == versions[2] and len(set(versions)) == 4
    details = [Registry(open_store()).details(f"smoke:{version}") for version in versions]
    assert [entry.signed for entry in details] == [False, False, True, True, True]
    assert [entry.manifest.checkpoint for entry in details] == [False, True, True, False, True]


def test_a_version_has_its_run_id_and_a_signature_if_a_key_is_set(
    config: Config, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, duel
) -> None:
    private, public = write_keys(tmp_path / "keys", ed25519.Ed25519PrivateKey.generate())
    monkeypatch.setenv("QC_SIGNING_KEY", str(private))
    promote(config, policy, open_store(), run_id="run-7")
    monkeypatch.setenv("QC_RUN_ID", "20261125-mine")
    duel(champion=[90], challenger=[90])
    promote(config, policy, open_store(), run_id="run-8")
    registry = Registry(open_store())
    assert [version.run_id for version in registry.versions()] == ["run-7", "20261125-mine"]
    registry.pull("smoke@latest", tmp_path / "pulled", verify_key=public)


def test_an_unreadable_signing_key_publishes_nothing(
    config: Config, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QC_SIGNING_KEY", str(tmp_path / "none.pem"))
    with pytest.raises(UsageError, match=r"none\.pem cannot be read"):
        promote(config, policy, open_store())
    assert Registry(open_store()).versions() == []


def test_a_match_plays_the_published_files(config: Config, policy: Path) -> None:
    one_episode = publishing(config, gate_episodes=1)
    promote(one_episode, policy, open_store())
    again = promote(one_episode, policy, open_store())
    assert not again.champion
    results = again.gate.results
    assert results["champion"] == results["challenger"]
    assert results["champion"].episode_results[0].seed == again.gate.first_seed


def test_without_success_signal_the_gate_compares_returns(
    pendulum_config: Config,
    pendulum_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    export(pendulum_checkpoint, tmp_path / "policy")
    demanding = publishing(pendulum_config, minimum_success=0.5, gate_episodes=20)
    first = promote(demanding, tmp_path / "policy", open_store())
    assert not first.champion and first.gate.episodes < 20
    assert "set --publish.minimum-success 0" in capsys.readouterr().err
    config = publishing(demanding, minimum_success=0.0)
    champion = promote(config, tmp_path / "policy", open_store())
    again = promote(config, tmp_path / "policy", open_store())
    assert champion.champion and not again.champion
    message = capsys.readouterr().err
    assert "higher in 0 and lower in 0 of 20 episodes" in message
    assert "the environment has no success signal (info['success'])" in message
    assert again.gate.net_wins is not None and again.gate.net_wins.value == 0
    assert again.gate.rule.startswith("better: the environment has no success signal")
    results = again.gate.results
    assert results["champion"].mean_return == results["challenger"].mean_return
    assert results["champion"].mean_return is not None and results["champion"].mean_return < 0


def die(*_: object) -> None:
    """Stop as a killed pod does."""
    raise KeyboardInterrupt


def moved(policy: Path, folder: Path, environment: str) -> Path:
    """The policy, for another environment."""
    shutil.copytree(policy, folder)
    contract = json.loads((folder / "policy.json").read_text())
    (folder / "policy.json").write_text(json.dumps({**contract, "environment": environment}))
    write_checksums(folder)
    return folder
