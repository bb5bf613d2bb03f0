"""The comparison plays every policy on the same unseen episodes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from qc_core.cli.output import print_policies
from qc_core.config.settings import Config
from qc_core.envs.episode_result import EpisodeResult, summarize_results
from qc_core.envs.play import play_episodes
from qc_core.errors import UsageError
from qc_core.evaluation import evaluate as evaluation
from qc_core.evaluation.evaluate import evaluate
from qc_core.export.export import export
from qc_core.seeds import seeds_for
from qc_core.training.policy import CheckpointPolicy


def test_three_policies_play_the_same_unseen_seeds(
    tmp_path: Path, config: Config, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, CheckpointPolicy] = {}

    def play(environment: str, policies: dict[str, CheckpointPolicy], seeds, **options):
        asked.update(policies)
        return play_episodes(environment, policies, seeds, **options)

    monkeypatch.setattr(evaluation, "play_episodes", play)
    online = Path(shutil.copytree(checkpoint, tmp_path / "online"))
    content = evaluate(config, checkpoint, online, tmp_path / "evaluation.json")
    assert asked == {
        "behaviour cloning": CheckpointPolicy(checkpoint, "bc"),
        "offline Q-learning": CheckpointPolicy(checkpoint, "learned"),
        "fine-tuned online": CheckpointPolicy(online, "learned"),
    }
    assert json.loads((tmp_path / "evaluation.json").read_text()) == content
    assert content["execution-length"] == 5
    assert [policy["name"] for policy in content["policies"]] == list(asked)
    expected = seeds_for("evaluate", config.seed, config.evaluate.episodes)
    for policy in content["policies"]:
        assert [outcome["seed"] for outcome in policy["outcomes"]] == expected
    cloned = content["policies"][0]
    assert cloned["steps-saved"] == {"value": 0, "low": 0, "high": 0}


def test_policies_are_compared_at_the_execution_horizon(
    tmp_path: Path, config: Config, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: set[int] = set()

    def play(environment: str, policies: dict[str, CheckpointPolicy], seeds, **options):
        lengths.update(load().execution_horizon for load in policies.values())
        return play_episodes(environment, policies, seeds, **options)

    monkeypatch.setattr(evaluation, "play_episodes", play)
    short = replace(config, evaluate=replace(config.evaluate, execution_horizon=2, episodes=1))
    content = evaluate(short, checkpoint, checkpoint, tmp_path / "evaluation.json")
    assert (lengths, content["execution-length"]) == ({2}, 2)


def test_an_agent_plays_whole_chunks_unless_asked_for_less(checkpoint: Path) -> None:
    assert CheckpointPolicy(checkpoint, "learned")().execution_horizon == 5
    assert CheckpointPolicy(checkpoint, "learned", 3)().execution_horizon == 3
    with pytest.raises(UsageError, match=r"must be in \[1, 5\].* got 6"):
        CheckpointPolicy(checkpoint, "learned", 6)()


def test_without_a_success_that_is_told_policies_compare_by_return(
    tmp_path: Path,
    pendulum_config: Config,
    pendulum_checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    both = (pendulum_checkpoint, pendulum_checkpoint)
    content = evaluate(pendulum_config, *both, tmp_path / "evaluation.json")
    told = capsys.readouterr().err
    assert "Pendulum-v1 reports no success (info['success']): policies are compared by" in told
    cloned, learned, _ = content["policies"]
    assert [policy["success-told"] for policy in content["policies"]] == [False] * 3
    gain = learned["return"]["value"] - cloned["return"]["value"]
    assert learned["return-gain"]["value"] == pytest.approx(gain) and gain != 0
    print_policies("policy", content["policies"])
    header, first, *_ = capsys.readouterr().out.splitlines()
    assert header.split() == ["policy", "return"]
    assert f"{cloned['return']['value']:.1f} (" in first
    export(pendulum_checkpoint, tmp_path / "policy", tmp_path / "evaluation.json")
    card = (tmp_path / "policy" / "model-card.md").read_text()
    assert f"Return {learned['return']['value']:.1f} (95% interval " in card
    assert "Success" not in card and "mean_reward" in card


def test_a_failure_counts_the_limit() -> None:
    outcomes = [EpisodeResult(0, True, 40, -40.0), EpisodeResult(1, False, 150, -150.0)]
    summary = summarize_results(outcomes, limit=200)
    assert summary["success"]["value"] == 0.5
    assert summary["steps"]["value"] == 120
