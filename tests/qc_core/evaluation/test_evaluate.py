"""Evaluation plays every policy on the same unseen episodes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from qc_core.cli.output import print_policies
from qc_core.config.settings import Config
from qc_core.documents import read
from qc_core.envs.episode_result import summarize_results
from qc_core.envs.play import play_episodes
from qc_core.errors import UsageError
from qc_core.evaluation import evaluate as evaluate_module
from qc_core.evaluation.evaluate import evaluate
from qc_core.evaluation.result import Evaluation
from qc_core.export.export import export
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.seeds import seeds_for
from qc_core.statistics import Estimate
from qc_core.training.checkpoint import WEIGHTS
from qc_core.training.checkpoint_policy import CheckpointPolicy
from qc_core.training.pretrain import pretrain
from tests import quick_fixtures

# Plays in a quick environment.
spec, config, dataset, checkpoint = (
    quick_fixtures.spec,
    quick_fixtures.config,
    quick_fixtures.dataset,
    quick_fixtures.checkpoint,
)


def fine_tuned(checkpoint: Path, folder: Path) -> Path:
    """Copy a checkpoint with other weights."""
    shutil.copytree(checkpoint, folder)
    weights = {name: value + 0.01 for name, value in load_file(folder / WEIGHTS).items()}
    save_file(weights, folder / WEIGHTS)
    (folder / "SHA256SUMS").unlink()
    return folder


def test_three_policies_play_the_same_unseen_seeds(
    tmp_path: Path, config: Config, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: dict[str, CheckpointPolicy] = {}
    libraries: list[str] = []

    def play(environment: str, policies: dict[str, CheckpointPolicy], seeds, **options):
        loaded.update(policies)
        # The server imports torch once for all processes.
        assert libraries == ["torch"]
        return play_episodes(environment, policies, seeds, **options)

    monkeypatch.setattr(evaluate_module, "play_episodes", play)
    monkeypatch.setattr(evaluate_module, "preload", libraries.append)
    online = fine_tuned(checkpoint, tmp_path / "online")
    evaluation = evaluate(config, checkpoint, online, tmp_path / "evaluation.json")
    assert loaded == {
        "behaviour cloning": CheckpointPolicy(checkpoint, "bc"),
        "offline Q-learning": CheckpointPolicy(checkpoint, "learned"),
        "fine-tuned online": CheckpointPolicy(online, "learned"),
    }
    # As text, because ends of intervals can be NaN, which equals nothing.
    assert repr(read(tmp_path / "evaluation.json", Evaluation)) == repr(evaluation)
    assert evaluation.execution_horizon == 5
    assert [policy.name for policy in evaluation.policies] == list(loaded)
    expected = seeds_for("evaluate", config.seed, config.evaluate.episodes)
    for policy in evaluation.policies:
        assert [result.seed for result in policy.episode_results] == expected
    assert evaluation.policies[0].steps_saved == Estimate(0, 0, 0)


def test_a_method_without_a_bc_policy_compares_the_untrained_policy(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    train = config.train.changed(method="rlpd")
    config = replace(config, train=train, evaluate=replace(config.evaluate, episodes=1))
    pretrain(config, dataset, tmp_path / "rlpd")
    online = fine_tuned(tmp_path / "rlpd", tmp_path / "online")
    evaluation = evaluate(config, tmp_path / "rlpd", online, tmp_path / "e.json")
    compared = [(policy.name, policy.kind) for policy in evaluation.policies]
    assert compared == [("before any training", "learned"), ("fine-tuned online", "learned")]


def test_policies_are_compared_at_the_execution_horizon(
    tmp_path: Path, config: Config, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    horizons: set[int] = set()

    def play(environment: str, policies: dict[str, CheckpointPolicy], seeds, **options):
        horizons.update(load().execution_horizon for load in policies.values())
        return play_episodes(environment, policies, seeds, **options)

    monkeypatch.setattr(evaluate_module, "play_episodes", play)
    short = replace(config, evaluate=replace(config.evaluate, execution_horizon=2, episodes=1))
    evaluation = evaluate(short, checkpoint, checkpoint, tmp_path / "evaluation.json")
    assert (horizons, evaluation.execution_horizon) == ({2}, 2)


def test_an_agent_executes_complete_chunks_by_default(checkpoint: Path) -> None:
    assert CheckpointPolicy(checkpoint, "learned")().execution_horizon == 5
    assert CheckpointPolicy(checkpoint, "learned", 3)().execution_horizon == 3
    with pytest.raises(UsageError, match=r"must be in \[1, 5\].* got 6"):
        CheckpointPolicy(checkpoint, "learned", 6)()


def test_without_success_signal_policies_are_compared_by_return(
    tmp_path: Path,
    pendulum_config: Config,
    pendulum_checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    both = (pendulum_checkpoint, fine_tuned(pendulum_checkpoint, tmp_path / "online"))
    evaluation = evaluate(pendulum_config, *both, tmp_path / "evaluation.json")
    message = capsys.readouterr().err
    assert "Pendulum-v1 has no success signal (info['success']): policies are" in message
    cloning, learned, _ = evaluation.policies
    assert [policy.reports_success for policy in evaluation.policies] == [False] * 3
    gain = learned.episode_return.value - cloning.episode_return.value
    assert learned.return_gain is not None
    assert learned.return_gain.value == pytest.approx(gain) and gain != 0
    print_policies("policy", evaluation.policies)
    header, first, *_ = capsys.readouterr().out.splitlines()
    assert header.split() == ["policy", "return"]
    assert f"{cloning.episode_return.value:.1f} (" in first
    export(pendulum_checkpoint, tmp_path / "policy", tmp_path / "evaluation.json")
    card = (tmp_path / "policy" / "model-card.md").read_text()
    assert f"Return {learned.episode_return.value:.1f} (95% interval " in card
    assert "Success" not in card and "mean_reward" in card


def test_a_failure_counts_as_the_episode_limit() -> None:
    results = [EpisodeResult(0, True, 40, -40.0), EpisodeResult(1, False, 150, -150.0)]
    summary = summarize_results(results, limit=200)
    assert summary.success.value == 0.5
    assert summary.steps.value == 120


def test_a_document_of_schema_version_1_is_read(tmp_path: Path) -> None:
    interval = {"value": 0.5, "low": 0.0, "high": 1.0}
    measures = ("success", "steps", "return", "success-gain", "steps-saved")
    episode = {"seed": 3, "success": True, "steps": 40, "episode_return": -40.0}
    policy = {
        "name": "behaviour cloning",
        "kind": "cloned",
        "weights": "a" * 64,
        **dict.fromkeys(measures, interval),
        "success-told": False,
        "outcomes": [{**episode, "success_told": False}],
    }
    old = {
        "schema-version": 1,
        "environment": "Pendulum-v1",
        "episode-limit": 200,
        "first-seed": 3,
        "episodes": 1,
        "execution-length": 5,
        "policies": [policy],
    }
    (tmp_path / "evaluation.json").write_text(json.dumps(old))
    evaluation = read(tmp_path / "evaluation.json", Evaluation)
    assert (evaluation.schema_version, evaluation.execution_horizon) == (2, 5)
    (result,) = evaluation.policies
    assert (result.kind, result.reports_success, result.return_gain) == ("bc", False, None)
    assert result.success == Estimate(0.5, 0.0, 1.0)
    assert result.episode_results == (EpisodeResult(3, True, 40, -40.0, reports_success=False),)


def test_a_newer_document_is_refused_by_its_version(tmp_path: Path) -> None:
    newer = {"schema-version": 9, "policies": [{"kind": "cloned"}]}
    (tmp_path / "evaluation.json").write_text(json.dumps(newer))
    with pytest.raises(UsageError, match=r"json: evaluation schema 1 or 2 is needed, got 9$"):
        read(tmp_path / "evaluation.json", Evaluation)


@pytest.mark.parametrize("policies", [3, [3], [{"outcomes": 3}], [{"outcomes": [3]}]])
def test_a_damaged_document_of_schema_version_1_is_refused(tmp_path: Path, policies: Any) -> None:
    old = {"schema-version": 1, "policies": policies}
    (tmp_path / "evaluation.json").write_text(json.dumps(old))
    with pytest.raises(UsageError, match=r"evaluation\.json is damaged: "):
        read(tmp_path / "evaluation.json", Evaluation)
